"""L1 and DECLoss in plain PyTorch: `python examples/plain.py`."""

import torch
from photographs import Network, pairs
from torch import nn
from torch.utils.data import DataLoader

from dec_kernels import DECLoss


def main() -> None:
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = Network().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    l1, dec = nn.L1Loss(), DECLoss()
    loader = DataLoader(pairs(), batch_size=16, shuffle=True)

    for epoch in range(1, 6):
        sums = torch.zeros(2, device=device)
        for lr, hr in loader:
            lr, hr = lr.to(device), hr.to(device)
            sr = network(lr)
            pixel, contrast = l1(sr, hr), dec(sr, hr)
            loss = 1e-2 * pixel + 1e-2 * contrast  # the paper's weights
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sums += torch.stack([pixel, contrast]).detach()
        pixel, contrast = sums / len(loader)
        print(f"epoch {epoch}: L1 {pixel:.4f}, DECLoss {contrast:.4f}")


if __name__ == "__main__":
    main()
