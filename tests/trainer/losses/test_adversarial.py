import math

import numpy as np
import pytest
import torch

from dec_kernels.trainer.losses import discriminator_loss, generator_loss


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_the_paper(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """Equations 1 and 2 of ESRGAN, term by term: the discriminator's loss and the generator's."""
    d_real = sigmoid(real - fake.mean())
    d_fake = sigmoid(fake - real.mean())
    discriminator = -np.log(d_real).mean() - np.log(1 - d_fake).mean()
    generator = -np.log(1 - d_real).mean() - np.log(d_fake).mean()
    return discriminator, generator


@pytest.mark.parametrize("shape", [(5, 1), (2, 1, 3, 4)])
def test_is_half_of_the_papers_equations(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(1, 2, shape), rng.normal(-0.5, 1, shape)
    discriminator, generator = by_the_paper(real, fake)
    logits = torch.from_numpy(real), torch.from_numpy(fake)
    assert discriminator_loss(*logits).item() == pytest.approx(discriminator / 2, rel=1e-6)
    assert generator_loss(*logits).item() == pytest.approx(generator / 2, rel=1e-6)
    assert generator > discriminator + 1


def test_gradients_are_the_papers() -> None:
    """Central differences of the equations, through the means too. The generator has no part in the real images."""
    rng = np.random.default_rng(1)
    values = {"real": rng.normal(size=(3, 1)), "fake": rng.normal(size=(3, 1))}

    def slope(name: str, index: int, which: int) -> float:
        step = np.zeros((3, 1))
        step[index] = 1e-5
        up, down = (by_the_paper(**(values | {name: values[name] + sign * step}))[which] for sign in (1, -1))
        return (up - down) / 2e-5 / 2

    for which, loss in enumerate((discriminator_loss, generator_loss)):
        logits = {name: torch.from_numpy(value).requires_grad_() for name, value in values.items()}
        loss(**logits).backward()
        for name, logit in logits.items():
            if (name, which) == ("real", 1):
                assert logit.grad is None
                continue
            assert logit.grad is not None
            assert logit.grad.flatten().tolist() == pytest.approx([slope(name, i, which) for i in range(3)], abs=1e-6)


@pytest.mark.parametrize("loss", [discriminator_loss, generator_loss])
def test_undecided_is_log_2_whatever_the_level(loss) -> None:  # type: ignore[no-untyped-def]
    logits = torch.full((4, 1), 7.0)
    assert loss(logits, logits).item() == pytest.approx(math.log(2), rel=1e-6)


def test_large_logits_neither_overflow_nor_saturate() -> None:
    real, fake = torch.full((2, 1), 500.0), torch.full((2, 1), -500.0, requires_grad=True)
    loss = generator_loss(real, fake)
    loss.backward()
    assert loss.item() == 1000
    assert fake.grad.sum().item() == pytest.approx(-1)
    assert discriminator_loss(real, fake).item() == 0


def test_reduced_precision_is_left_at_once() -> None:
    real, fake = torch.randn(64, 1).bfloat16(), torch.randn(64, 1).bfloat16()
    wanted = generator_loss(real.double(), fake.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = generator_loss(real, fake)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_not_finite_logits_are_not_hidden() -> None:
    real, fake = torch.zeros(2, 1), torch.tensor([[0.0], [math.nan]])
    assert generator_loss(real, fake).isnan()
    assert discriminator_loss(real, fake).isnan()
