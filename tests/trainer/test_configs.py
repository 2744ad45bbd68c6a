"""The configs that ship: what they say, and that the trainer takes them. None is trained, and no weight is read."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from dec_kernels.trainer.cli import TrainerCLI
from dec_kernels.trainer.shipped import SWEEPS, TRAININGS, names_in
from dec_kernels.trainer.sweep import load_sweep, to_arguments

CONFIGS = Path(str(files("dec_kernels.trainer"))) / "configs"

# The rows of the paper's Table 1: the terms beside L1.
ROWS = {
    "paper_l1": (),
    "paper_l1_dec": ("dec",),
    "paper_l1_lp": ("perceptual",),
    "paper_l1_lp_dec": ("perceptual", "dec"),
    "paper_l1_lp_ragan": ("perceptual", "discriminator"),
    "paper_l1_lp_dec_ragan": ("perceptual", "dec", "discriminator"),
}
WEIGHTS = {"dec": "dec_weight", "perceptual": "perceptual_weight", "discriminator": "gan_weight"}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


@pytest.fixture(scope="module")
def cli() -> TrainerCLI:
    class Parsed(TrainerCLI):
        def instantiate_classes(self) -> None:
            """The networks' weights would have to be downloaded."""

    return Parsed(["--config", "demo_stage1"], run=False)


def test_the_rows_differ_only_in_their_terms() -> None:
    configs = {name: read(name) for name in ROWS}
    terms: dict[str, list[Any]] = {key: [] for key in (*WEIGHTS, *WEIGHTS.values())}
    for name, config in configs.items():
        assert config.pop("out") == f"runs/{name}"
        for term, weight in WEIGHTS.items():
            assert (term in config["model"]) == (weight in config["model"]) == (term in ROWS[name]), (name, term)
            for key in (term, weight):
                if key in config["model"]:
                    terms[key].append(config["model"].pop(key))
    for config in configs.values():
        assert config == configs["paper_l1"]
    for key, values in terms.items():
        assert len(values) >= 2, key
        assert all(value == values[0] for value in values), key


def test_stage_2_is_the_papers() -> None:
    config = read("paper_l1_lp_dec_ragan")
    model, data = config["model"], config["data"]
    weights = {key: model[key] for key in ("pixel_weight", "perceptual_weight", "dec_weight", "gan_weight")}
    assert weights == {"pixel_weight": 1e-2, "perceptual_weight": 1.0, "dec_weight": 1e-2, "gan_weight": 5e-3}
    arguments = {"patch_size": 8, "threshold": 34.0, "t_pos": 0.5, "t_neg": 1.5, "process_group": "world"}
    assert model["dec"]["init_args"] == arguments
    assert model["learning_rate"] == 2e-5
    assert (data["scale"], data["crop_size"], data["batch_size"], data["batches_per_epoch"]) == (4, 128, 32, 1000)
    assert model["discriminator"]["init_args"]["input_size"] == data["crop_size"]


def test_stage_1_is_the_papers() -> None:
    config = read("paper_stage1")
    assert config["trainer"]["max_epochs"] == 200
    assert config["model"]["learning_rate"] == 1e-4
    assert config["model"]["warmup_steps"] == 5 * config["data"]["batches_per_epoch"]
    assert config["model"]["cycle_decay"] == 0.5
    assert config["data"]["train"] == ["datasets/DIV2K", "datasets/Flickr2K"]
    assert config["data"]["test"] == ["datasets/DIV2K"]
    assert not set(WEIGHTS) & set(config["model"])


@pytest.mark.parametrize("name", ROWS)
def test_stage_2_goes_on_from_stage_1(name: str) -> None:
    first, second = read("paper_stage1"), read(name)
    assert second["model"]["weights"] == f"{first['out']}/checkpoints/last.ckpt"
    assert second["model"]["generator"] == first["model"]["generator"]
    assert second["data"].pop("seed") != first["data"].pop("seed")
    assert second["data"] == first["data"]


def test_the_enhanced_row_differs_in_its_enhancement_alone() -> None:
    plain, enhanced = read("paper_l1_dec"), read("paper_l1_dec_enhance")
    assert enhanced.pop("out") == f"{plain.pop('out')}_enhance"
    arguments = enhanced["model"].pop("enhance")["init_args"]
    assert arguments == {"alpha": None, "mu": enhanced["data"]["crop_size"] / 2}
    assert enhanced["model"].pop("enhance_terms") == ["dec"]
    assert enhanced == plain


def test_swinir_has_the_papers_stage_1() -> None:
    paper, swinir = read("paper_stage1"), read("swinir_stage1")
    assert swinir.pop("out") != paper.pop("out")
    network = swinir["model"].pop("generator")
    paper["model"].pop("generator")
    assert swinir == paper
    assert swinir["data"]["crop_size"] // swinir["data"]["scale"] % network["init_args"]["window_size"] == 0


@pytest.mark.parametrize(("name", "base"), [("real_esrgan", "real_esrnet"), ("bsrgan", "bsrnet")])
def test_real_world_rows_differ_in_decloss_alone(name: str, base: str) -> None:
    without, with_dec, first = read(name), read(f"{name}_dec"), read(base)
    assert without.pop("out") == f"runs/{name}"
    assert with_dec.pop("out") == f"runs/{name}_dec"
    assert with_dec["model"].pop("dec") == read("paper_l1_dec")["model"]["dec"]
    assert with_dec["model"].pop("dec_weight") == read("paper_l1_dec")["model"]["dec_weight"]
    assert with_dec == without
    assert without["model"]["weights"] == f"{first['out']}/checkpoints/last.ckpt"
    assert without["model"]["generator"] == first["model"]["generator"]
    assert without["data"].pop("seed") != first["data"].pop("seed")
    assert without["data"] == first["data"]


@pytest.mark.parametrize(("name", "rates", "crop"), [("real_esrgan", (2e-4, 1e-4), 256), ("bsrgan", (1e-4, 5e-5), 288)])
def test_real_world_settings_are_the_published_ones(name: str, rates: tuple[float, float], crop: int) -> None:
    first, second = read(name.replace("gan", "net")), read(name)
    assert (first["model"]["learning_rate"], second["model"]["learning_rate"]) == rates
    assert first["model"]["generator"]["init_args"] == {"num_feat": 64, "num_block": 23, "num_grow_ch": 32}
    model, data = second["model"], second["data"]
    assert (model["pixel_weight"], model["perceptual_weight"], model["gan_weight"]) == (1, 1, 0.1)
    assert model["perceptual"]["init_args"]["layers"] == "real-esrgan"
    assert model["discriminator"]["class_path"].endswith("UNetDiscriminator")
    assert model["ema_decay"] == 0.999
    assert (data["scale"], data["crop_size"], data["batch_size"]) == (4, crop, 48)
    degradation = {"real_esrgan": "RealESRGAN", "bsrgan": "BSRGAN"}[name]
    # Without arguments: tests of the degradations compare the defaults with the published settings.
    assert data["degradation"] == {"class_path": f"dec_kernels.trainer.data.degradation.{degradation}"}


@pytest.mark.parametrize(
    ("name", "network", "pixel"),
    [
        ("hinet_sidd", {"wf": 32, "hin_position_left": 0, "hin_position_right": 4}, ("l1", 1.0)),
        ("hinet_gopro", {"wf": 64, "hin_position_left": 3, "hin_position_right": 4}, ("psnr_loss", 0.5)),
    ],
)
def test_restoration_is_hinets_with_and_without_dec(
    name: str, network: dict[str, int], pixel: tuple[str, float]
) -> None:
    plain, with_dec = read(name), read(f"{name}_dec")
    assert (plain.pop("out"), with_dec.pop("out")) == (f"runs/{name}", f"runs/{name}_dec")
    assert with_dec["model"].pop("dec")["init_args"] == {"patch_size": 8, "threshold": 34.0, "t_pos": 0.5, "t_neg": 1.5}
    assert with_dec["model"].pop("dec_weight") > 0
    assert plain == with_dec
    model, data, trainer = plain["model"], plain["data"], plain["trainer"]
    assert model["generator"]["init_args"] == network
    assert (model["pixel"], model["pixel_weight"]) == pixel
    assert (model["learning_rate"], model["warmup_steps"], trainer["gradient_clip_val"]) == (2e-4, 0, 0.01)
    assert (data["scale"], data["crop_size"], data["batch_size"] * trainer["devices"]) == (1, 256, 64)
    assert trainer["max_epochs"] * data["batches_per_epoch"] == 400_000


@pytest.mark.parametrize("name", names_in(TRAININGS))
def test_the_trainer_knows_every_key(name: str, cli: TrainerCLI) -> None:
    cli.parser.parse_args(["--config", str(CONFIGS / f"{name}.yaml")])


@pytest.mark.parametrize("name", names_in(SWEEPS))
def test_the_trainer_knows_every_setting_of_a_sweep(name: str, cli: TrainerCLI) -> None:
    sweep = load_sweep(name)
    base = ["--config", str(CONFIGS / f"{sweep.base}.yaml")]
    unchanged = cli.parser.parse_args(base)
    for settings in sweep.runs.values():
        config = cli.parser.parse_args([*base, *to_arguments(settings)])
        for key, value in settings.items():
            assert config[key] == value
            config[key] = unchanged.get(key)
        config.model.dec.init_args.temperature = unchanged.model.dec.init_args.temperature
        assert config == unchanged


def test_thresholds() -> None:
    thresholds = [run["model.dec.init_args.threshold"] for run in load_sweep("thresholds").runs.values()]
    assert thresholds == [30, 32, 34, 36, 38, 40]


def test_patches() -> None:
    runs = load_sweep("patches").runs
    pairs = [(run["data.batch_size"], run["model.dec.init_args.patch_size"]) for run in runs.values()]
    assert pairs == [(32, 4), (28, 6), (24, 8), (16, 12), (12, 16)]
    assert [f"{batch}/{patch}" for batch, patch in pairs] == [*runs]


@pytest.mark.parametrize(("name", "temperature"), [("temperatures", "inside"), ("temperatures_as_printed", "outside")])
def test_temperatures(name: str, temperature: str) -> None:
    sweep = load_sweep(name)
    assert {run.pop("model.dec.init_args.temperature") for run in sweep.runs.values()} == {temperature}
    assert sweep.figure.metrics == ["lpips"]
    wanted = {"t_pos": {"t_neg": 1.5}, "t_neg": {"t_pos": 0.5}}
    for line, (varied, fixed) in zip(sweep.lines.values(), wanted.items(), strict=True):
        assert line.setting == f"model.dec.init_args.{varied}"
        for run, value in zip(line.runs, [0.5, 1, 1.5, 2, 4, 8], strict=True):
            settings = {key.rpartition(".")[2]: number for key, number in sweep.runs[run].items()}
            assert settings == {varied: value} | fixed
            assert run == f"{settings['t_pos']:g}/{settings['t_neg']:g}"
    assert len(sweep.runs) == 11


def test_perception_distortion_goes_from_l1_to_the_full_objective_with_and_without_dec() -> None:
    sweep = load_sweep("perception_distortion")
    full = read(sweep.base)["model"]
    for (name, line), dec in zip(sweep.lines.items(), (1, 0), strict=True):
        for run, part in zip(line.runs, [0, 0.001, 0.01, 0.1, 1], strict=True):
            share = {"perceptual_weight": part, "dec_weight": dec * part, "gan_weight": part}
            expected = {f"model.{key}": value * full[key] for key, value in share.items()}
            assert sweep.runs[run] == pytest.approx(expected, abs=0), (name, run)
            assert run.startswith(f"a = {part:g}" if part else "L1 alone")
