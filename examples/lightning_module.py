"""L1 and DECLoss in a LightningModule: `python examples/lightning_module.py`."""

import lightning
import torch
from photographs import Network, pairs
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dec_kernels import DECLoss


class SuperResolution(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = Network()
        # With several devices, the patches of all of them are negatives of each other.
        self.l1, self.dec = nn.L1Loss(), DECLoss(process_group="world")

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        lr, hr = batch
        sr = self.network(lr)
        pixel, contrast = self.l1(sr, hr), self.dec(sr, hr)
        self.log_dict({"L1": pixel, "DECLoss": contrast}, on_step=False, on_epoch=True, sync_dist=True)
        return 1e-2 * pixel + 1e-2 * contrast  # the paper's weights

    def on_train_epoch_end(self) -> None:
        means = self.trainer.callback_metrics
        self.print(f"epoch {self.current_epoch + 1}: L1 {means['L1']:.4f}, DECLoss {means['DECLoss']:.4f}")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> None:
    lightning.seed_everything(0)
    loader = DataLoader(pairs(), batch_size=16, shuffle=True, drop_last=True)
    trainer = lightning.Trainer(max_epochs=5, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(SuperResolution(), loader)


if __name__ == "__main__":
    main()
