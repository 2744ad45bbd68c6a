import importlib
from collections import Counter

import pytest
import yaml

from benchmarks.evidence.plan import L1, PLANS, Plan, Setting
from dec_kernels import DECLoss
from dec_kernels.trainer.shipped import TRAININGS, find_config


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_names_folders_and_bases(plan: Plan) -> None:
    settings, runs = {s.name: s for s in plan.settings()}, list(plan.runs())
    assert len(settings) == len(plan.settings())
    assert len({run.folder for run in runs}) == len(runs)
    assert runs[0].setting.name == L1
    for setting in settings.values():
        if setting.base is not None:
            model, base = (
                {key: value for key, value in each.model.items() if key not in ("dec", "dec_weight")}
                for each in (setting, settings[setting.base])
            )
            assert model == base
            assert setting.data == settings[setting.base].data


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_mask_comes_behind_the_network_whose_output_it_sharpens(plan: Plan) -> None:
    seen = set()
    for run in plan.runs():
        seen.add((run.setting.name, run.seed))
        if run.setting.amount is not None:
            assert (L1, run.seed) in seen
    assert list(plan.amounts) == sorted({*plan.amounts})
    assert min(plan.amounts) > 0


def test_table_1_has_three_seeds_first() -> None:
    rows = [(run.setting.name, run.seed) for run in PLANS["small"].runs() if run.setting.group == "Table 1"]
    names = ["L1", "L1 + DEC", "L1 + Lp", "L1 + Lp + DEC", "L1 + Lp + RaGAN", "L1 + Lp + DEC + RaGAN"]
    assert rows == [(name, seed) for seed in range(3) for name in names]


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_seeds_of_each_setting(plan: Plan) -> None:
    found = Counter(run.setting.name for run in plan.runs())
    for setting in plan.settings():
        several = setting.group in ("Table 1", "unsharp mask", "contrast", "with 0.01 Lp")
        assert found[setting.name] == (plan.seeds if several else plan.switch_seeds)


def test_the_rows_of_table_1_are_the_shipped_configs() -> None:
    """The same terms with the same weights; all but L1 alone, whose weight Adam does not see."""
    for setting in PLANS["small"].settings():
        if setting.group != "Table 1" or setting.name == L1:
            continue
        name = "paper_" + setting.name.lower().replace(" + ", "_")
        config = yaml.safe_load(find_config(name, TRAININGS, "config").read_text(encoding="utf-8"))["model"]
        for key in ("pixel_weight", "dec_weight", "perceptual_weight", "gan_weight"):
            assert setting.model.get(key) == config.get(key), (name, key)
        assert ("dec" in setting.model, "discriminator" in setting.model) == (
            "dec" in config,
            "discriminator" in config,
        )


@pytest.mark.parametrize("setting", [s for s in PLANS["small"].settings() if "dec" in s.model], ids=lambda s: s.name)
def test_every_loss_can_be_built(setting: Setting) -> None:
    module, _, name = setting.model["dec"]["class_path"].rpartition(".")
    loss = getattr(importlib.import_module(module), name)(**setting.model["dec"]["init_args"])
    assert isinstance(loss, DECLoss)


def test_kinds_tell_what_takes_another_time_a_step() -> None:
    settings = {s.name: s for s in PLANS["small"].settings()}
    assert settings["L1 + 0.3 DEC"].kind == settings["L1 + 0.1 DEC, floor 0.1"].kind == settings["L1 + DEC"].kind
    different = (
        "L1",
        "L1 + DEC",
        "L1 + Lp",
        "L1 + Lp + DEC",
        "L1 + Lp + RaGAN",
        "L1, batch of 32",
        "L1 + 0.1 cosine",
        "L1, enhanced",
    )
    others = (
        "L1 + 0.1 DEC, patches of 4",
        "L1 + 0.1 DEC, scope image",
        "L1 + 0.1 DEC, centered, floor 0.2, batch of 32, landmarks",
    )
    assert len({settings[name].kind for name in (*different, *others)}) == len(different) + len(others)
