"""Fig. 4 of the paper: larger networks tell more apart. `python examples/model_size.py [PNG]` draws it in seconds.

Networks with one hidden layer of 1, 2 and 8 sigmoid units, which have 5, 9 and 33 parameters, learn which of two
Gaussians a point comes from (Appendix D). The paper does not give the Gaussians; these are of this script.
"""

import sys

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

SAMPLES = 400  # of each class
GAUSSIANS = (  # mean, covariance
    ((0.0, 0.0), ((4.0, 1.0), (1.0, 3.0))),
    ((1.0, 0.5), ((0.4, -0.1), (-0.1, 0.3))),
)
COLOURS = ("#0072B2", "#D55E00")


def points() -> tuple[Tensor, Tensor]:
    """Points (2 * SAMPLES, 2) and their classes, 0 or 1."""
    gaussians = [torch.distributions.MultivariateNormal(*map(torch.tensor, parameters)) for parameters in GAUSSIANS]
    return torch.cat([each.sample((SAMPLES,)) for each in gaussians]), torch.arange(2).repeat_interleave(SAMPLES)


def train(units: int, x: Tensor, label: Tensor) -> nn.Module:
    """A network with 4 * units + 1 parameters; its output is the logit of class 1."""
    network = nn.Sequential(nn.Linear(2, units), nn.Sigmoid(), nn.Linear(units, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(500):
        loss = nn.functional.binary_cross_entropy_with_logits(network(x), label.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.requires_grad_(False)


def main() -> None:
    torch.manual_seed(0)
    x, label = points()
    side = torch.linspace(-5, 5, 300)
    grid = torch.cartesian_prod(side, side)
    figure = Figure(figsize=(12, 4.2), dpi=120, layout="constrained")
    for axes, units in zip(figure.subplots(1, 3, sharey=True), (1, 2, 8), strict=True):
        network = train(units, x, label)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        accuracy = ((network(x) > 0) == label.bool()).float().mean()
        print(f"{parameters} parameters: accuracy {accuracy:.3f}")
        probability = network(grid).sigmoid().view(300, 300).T
        axes.contourf(side, side, probability, levels=(0, 0.5, 1), colors=COLOURS, alpha=0.25)
        axes.scatter(*x.T, c=[COLOURS[each] for each in label], s=6, alpha=0.6, linewidths=0)
        axes.set(xlim=(-5, 5), ylim=(-5, 5))
        axes.set_title(f"{parameters} parameters, accuracy {accuracy:.1%}")
    figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "model_size.png")


if __name__ == "__main__":
    main()
