"""The demo: train a small RRDBNet with DECLoss on the photographs that scikit-image ships, and show what comes out.

    python -m dec_kernels.trainer.demo [--out DIR] [--quick]

Stage 1 trains with L1. Stage 2 goes on from there twice, with L1 + DECLoss and, for comparison, with L1 alone: the same
checkpoint, crops, steps and learning rates, only the weight of DECLoss differs. Both stages are ordinary trainings of
`dec-train` with the configs `demo_stage1` and `demo_stage2`. Ctrl+C ends the training at hand after its step and
reports on what there is; a second one leaves at once.
"""

from dec_kernels.trainer.demo.run import main

__all__ = ["main"]
