"""L1 and DECLoss in a loop of Hugging Face Accelerate: `accelerate launch examples/accelerate_loop.py`."""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from photographs import Network, pairs
from torch import nn
from torch.utils.data import DataLoader

from dec_kernels import DECLoss


def main() -> None:
    set_seed(0)
    accelerator = Accelerator()
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = DataLoader(pairs(), batch_size=16, shuffle=True, drop_last=True)
    network, optimizer, loader = accelerator.prepare(network, optimizer, loader)
    # With several processes, the patches of all of them are negatives of each other.
    l1, dec = nn.L1Loss(), DECLoss(process_group="world")

    for epoch in range(1, 6):
        sums = torch.zeros(2, device=accelerator.device)
        for lr, hr in loader:
            sr = network(lr)
            pixel, contrast = l1(sr, hr), dec(sr, hr)
            loss = 1e-2 * pixel + 1e-2 * contrast  # the paper's weights
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            sums += torch.stack([pixel, contrast]).detach()
        pixel, contrast = accelerator.reduce(sums / len(loader), reduction="mean")
        accelerator.print(f"epoch {epoch}: L1 {pixel:.4f}, DECLoss {contrast:.4f}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
