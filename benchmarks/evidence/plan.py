"""What the study trains, and what each training is compared with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

L1 = "L1"
STAGE_1, STAGE_1_FOLDER = "stage 1", "stage_1"
BICUBIC = "bicubic"
SCALE = 4
# The paper's weights (section 5.1). Adam does not see the scale of the sum, so that L1 and DECLoss are 1 : 1 here.
PAPER_PIXEL, PAPER_DEC, PAPER_GAN = 0.01, 0.01, 0.005
CONTRAST, BALANCED = "contrast", "with 0.01 Lp"
COSINE = "benchmarks.evidence.cosine.MatchedCosine"
# What keeps DECLoss off colours and off patches without detail.
TAMED: dict[str, Any] = {"center": True, "norm_floor": 0.2}
TAMED_NAME = ", centered, floor 0.2"
# Appendix B's enhancement of high frequencies, in front of DECLoss; factors from 1 to 51 for crops of 128.
ENHANCED: dict[str, Any] = {
    "enhance": {"class_path": "dec_kernels.trainer.enhance.FrequencyEnhancement", "init_args": {"mu": 32.0}},
    "enhance_terms": ["dec"],
}


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        name: unique; what the table calls it.
        group: which question it belongs to.
        model: what it sets of `SuperResolution`, beside what all runs share.
        data: what it sets of `SRDataModule`.
        base: the setting without the loss term, or without the contrast, that this one is about; None if that is L1.
        amount: of the unsharp mask through which L1's outputs go; None for a training of its own.
    """

    name: str
    group: str
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None
    amount: float | None = None

    @property
    def kind(self) -> tuple[Any, ...]:
        """Settings of one kind take the same time a step."""
        dec = self.model.get("dec")
        costs = {"patch_size", "scope", "landmarks"}
        of_dec = dec and (dec["class_path"], *sorted((k, v) for k, v in dec["init_args"].items() if k in costs))
        networks = ("perceptual", "discriminator", "enhance")
        return (of_dec, *(name in self.model for name in networks), *sorted(self.data.items()))


@dataclass(frozen=True)
class Run:
    """A setting with a seed, of crops and of whatever else is random."""

    setting: Setting
    seed: int

    @property
    def folder(self) -> str:
        return f"{re.sub(r'[^a-z0-9.]+', '_', self.setting.name.lower()).strip('_')}-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """Sizes and lengths.

    Attributes:
        blocks, features, growth: of RRDBNet.
        stage_1_steps, stage_1_batch, stage_1_rate: steps, crops a step and learning rate of the shared stage 1.
        steps, batch, rate: of each stage 2.
        layer: of VGG-16, for the perceptual loss.
        discriminator_features: of `VGGDiscriminator`.
        seeds: of the rows of Table 1 and the controls.
        switch_seeds: of all other settings.
        amounts: of the unsharp masks; with 0, which is L1, the nodes of the control's curve.
        every: whether all settings are trained, or few.
        coo_patches: how many patches the over-smoothing figure is computed from at most.
    """

    blocks: int
    features: int
    growth: int
    stage_1_steps: int
    stage_1_batch: int
    stage_1_rate: float
    steps: int
    batch: int
    rate: float
    layer: str
    discriminator_features: int
    seeds: int
    switch_seeds: int
    amounts: tuple[float, ...]
    every: bool
    coo_patches: int

    def settings(self) -> list[Setting]:
        """All settings, in the order in which they are trained and shown."""
        found = [
            *self._table_1(),
            *(Setting(f"L1, unsharp mask {amount:g}", "unsharp mask", amount=amount) for amount in self.amounts),
            *_pair(CONTRAST, 0.1, TAMED_NAME, {}, **TAMED),
            *_switches(),
            *self._with_perceptual(),
            *self._with_gan(),
        ]
        if self.every:
            return found
        first = {setting.group: setting for setting in reversed(found)}
        whole, one = ("Table 1", "unsharp mask"), (CONTRAST, "norm_floor", "with Lp")
        return [s for s in found if s.group in whole or (s.group in one and s is first[s.group])]

    def runs(self) -> Iterator[Run]:
        """Runs of all settings: one seed of each before the second of any."""
        several = ("Table 1", "unsharp mask", CONTRAST, BALANCED)
        for seed in range(max(self.seeds, self.switch_seeds)):
            for setting in self.settings():
                if seed < (self.seeds if setting.group in several else self.switch_seeds):
                    yield Run(setting, seed)

    def _table_1(self) -> list[Setting]:
        perceptual, gan, dec = self._perceptual(), self._gan(), _dec(PAPER_DEC)
        pixel = {"pixel_weight": PAPER_PIXEL}
        group = "Table 1"
        return [
            Setting(L1, group),
            Setting("L1 + DEC", group, pixel | dec),
            Setting("L1 + Lp", group, pixel | perceptual),
            Setting("L1 + Lp + DEC", group, pixel | perceptual | dec, base="L1 + Lp"),
            Setting("L1 + Lp + RaGAN", group, pixel | perceptual | gan),
            Setting("L1 + Lp + DEC + RaGAN", group, pixel | perceptual | gan | dec, base="L1 + Lp + RaGAN"),
        ]

    def _with_perceptual(self) -> list[Setting]:
        perceptual, group = self._perceptual(), "with Lp"
        as_printed = {"pixel_weight": PAPER_PIXEL} | perceptual
        balanced = perceptual | {"perceptual_weight": PAPER_PIXEL}  # L1 has the weight 1
        return [
            *(
                Setting(f"L1 + Lp + {w:g} DEC{TAMED_NAME}", group, as_printed | _dec(w, **TAMED), base="L1 + Lp")
                for w in (1, 10)
            ),
            Setting("L1 + 0.01 Lp", BALANCED, balanced),
            Setting(
                f"L1 + 0.01 Lp + 0.1 DEC{TAMED_NAME}", BALANCED, balanced | _dec(0.1, **TAMED), base="L1 + 0.01 Lp"
            ),
        ]

    def _with_gan(self) -> list[Setting]:
        shared = {"pixel_weight": PAPER_PIXEL} | self._perceptual() | self._gan()
        name = f"L1 + Lp + 10 DEC + RaGAN{TAMED_NAME}"
        return [Setting(name, "with RaGAN", shared | _dec(10.0, **TAMED), base="L1 + Lp + RaGAN")]

    def _perceptual(self) -> dict[str, Any]:
        loss = {"layers": {self.layer: 1.0}, "network": "vgg16"}
        return {
            "perceptual": {"class_path": "dec_kernels.trainer.losses.PerceptualLoss", "init_args": loss},
            "perceptual_weight": 1.0,
        }

    def _gan(self) -> dict[str, Any]:
        network = {"input_size": 128, "num_feat": self.discriminator_features}
        return {
            "discriminator": {"class_path": "dec_kernels.trainer.models.VGGDiscriminator", "init_args": network},
            "gan_weight": PAPER_GAN,
        }


def _dec(weight: float, class_path: str = "dec_kernels.DECLoss", **arguments: Any) -> dict[str, Any]:
    # Exact products on every device, so that autocast does not decide on the loss's precision.
    return {
        "dec": {"class_path": class_path, "init_args": {"precision": "ieee", **arguments}},
        "dec_weight": weight,
    }


def _pair(group: str, weight: float, name: str, model: Mapping[str, Any], **arguments: Any) -> list[Setting]:
    """The plain cosine term, which is DECLoss without its contrast, and DECLoss."""
    cosine = Setting(f"L1 + {weight:g} cosine{name}", group, model | _dec(weight, COSINE, **arguments))
    dec = Setting(f"L1 + {weight:g} DEC{name}", group, model | _dec(weight, **arguments), base=cosine.name)
    return [cosine, dec]


def _switches() -> list[Setting]:
    """What differs from L1 + 0.1 DEC with the paper's other values in one switch, or in several."""

    def setting(group: str, name: str, weight: float = 0.1, **arguments: Any) -> Setting:
        return Setting(f"L1 + {weight:g} DEC{name}", group, _dec(weight, **arguments))

    rmse_inside: dict[str, Any] = {"distance": "rmse", "temperature": "inside"}
    large = {"batch_size": 32}
    return [
        *_pair("weight", 0.1, "", {}),
        *(setting("weight", "", weight) for weight in (0.03, 0.3)),
        *(setting("norm_floor", f", floor {floor:g}", norm_floor=floor) for floor in (0.02, 0.1)),
        setting("center", ", centered", center=True),
        *(setting("center", f", centered, floor {f:g}", center=True, norm_floor=f) for f in (0.02, 0.1)),
        *(setting("center", TAMED_NAME, weight, **TAMED) for weight in (0.03, 0.2)),
        setting("distance and temperature", ", rmse", distance="rmse"),
        setting("distance and temperature", ", inside", temperature="inside"),
        setting("distance and temperature", ", rmse, inside", **rmse_inside),
        setting("distance and temperature", f", rmse, inside{TAMED_NAME}", **TAMED, **rmse_inside),
        *(setting("threshold", f", {eta} dB", threshold=float(eta)) for eta in (30, 40)),
        *(setting("patch", f", patches of {side}", patch_size=side) for side in (4, 16)),
        setting("scope", ", scope image", scope="image"),
        *_pair("enhanced", 0.03, f"{TAMED_NAME}, enhanced", ENHANCED, **TAMED),
        Setting(f"L1 + 0.1 DEC{TAMED_NAME}, enhanced", "enhanced", ENHANCED | _dec(0.1, **TAMED)),
        Setting("L1, enhanced", "enhanced", ENHANCED | {"enhance_terms": ["l1"]}),
        Setting("L1, batch of 32", "batch", data=large),
        Setting(
            f"L1 + 0.1 DEC{TAMED_NAME}, batch of 32, landmarks",
            "batch",
            _dec(0.1, landmarks=128, **TAMED),
            large,
            base="L1, batch of 32",
        ),
    ]


SMALL = Plan(
    blocks=4,
    features=32,
    growth=16,
    stage_1_steps=4_000,
    stage_1_batch=8,
    stage_1_rate=5e-4,
    steps=400,
    batch=8,
    rate=1e-4,
    layer="conv5_3",
    discriminator_features=32,
    seeds=3,
    switch_seeds=1,
    amounts=(0.15, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0),
    every=True,
    coo_patches=20_000,
)

PLANS: dict[str, Plan] = {
    # Does everything work? Its figures say nothing.
    "quick": Plan(
        blocks=1,
        features=4,
        growth=2,
        stage_1_steps=2,
        stage_1_batch=1,
        stage_1_rate=1e-3,
        steps=2,
        batch=1,
        rate=1e-4,
        layer="conv1_2",
        discriminator_features=2,
        seeds=1,
        switch_seeds=1,
        amounts=(0.5, 1.0),
        every=False,
        coo_patches=500,
    ),
    "small": SMALL,
    "full": replace(
        SMALL,
        blocks=16,
        features=64,
        growth=32,
        stage_1_steps=50_000,
        stage_1_batch=32,
        stage_1_rate=2e-4,
        steps=5_000,
        batch=32,
        rate=4e-5,
        discriminator_features=64,
        switch_seeds=3,
        coo_patches=50_000,
    ),
}
