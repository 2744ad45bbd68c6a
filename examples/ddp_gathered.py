"""L1 and DECLoss with DistributedDataParallel: the patches of all processes are negatives of each other.

`python examples/ddp_gathered.py` starts two processes, `torchrun --nproc-per-node=4 examples/ddp_gathered.py` four.
They share a batch of 16, and the figures are those of one process that has it whole, if their number divides 16.
"""

import torch
import torch.distributed as dist
from photographs import Network, pairs
from torch import nn
from torch.distributed.run import main as torchrun
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from dec_kernels import DECLoss

BATCH = 16  # of all processes together


def main() -> None:
    on_gpus = torch.cuda.device_count() >= 2
    dist.init_process_group("nccl" if on_gpus else "gloo")
    size = dist.get_world_size()
    device = torch.device("cuda", dist.get_node_local_rank()) if on_gpus else torch.device("cpu")
    torch.manual_seed(0)
    network = DistributedDataParallel(Network().to(device))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    l1, dec = nn.L1Loss(), DECLoss(process_group="world")
    data = pairs()
    sampler = DistributedSampler(data, drop_last=True)
    # Every process has to call the loss equally often, with batches of one size.
    loader = DataLoader(data, batch_size=BATCH // size, sampler=sampler, drop_last=True)

    for epoch in range(1, 6):
        sampler.set_epoch(epoch)
        sums = torch.zeros(2, device=device)
        for lr, hr in loader:
            lr, hr = lr.to(device), hr.to(device)
            sr = network(lr)
            pixel, contrast = l1(sr, hr), dec(sr, hr)  # means over the patches of this process
            optimizer.zero_grad()
            (1e-2 * pixel + 1e-2 * contrast).backward()  # DDP takes the mean of the gradients
            optimizer.step()
            sums += torch.stack([pixel, contrast]).detach()
        dist.all_reduce(sums)
        if dist.get_rank() == 0:
            pixel, contrast = sums / len(loader) / size
            print(f"epoch {epoch}: L1 {pixel:.4f}, DECLoss {contrast:.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    if dist.is_torchelastic_launched():
        main()
    else:
        torchrun(["--standalone", "--nproc-per-node=2", __file__])
