"""The command `dec-train`: `dec_kernels.trainer.cli`, once the OpenMP runtime is told how to wait.

Beside the package and not in it, since whatever is imported from the package imports PyTorch first, and with it the
runtime, which reads its settings once.
"""

import os
import sys

_CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_briefly() -> None:
    """Lets threads that have run out of work sleep after some microseconds, unless the user has chosen how they wait.

    Otherwise they spin for milliseconds at the end of each parallel loop. Where another process holds a core, that
    keeps the thread they wait for from running. Not to spin at all would cost a quiet machine up to half its speed.
    """
    if not any(name in os.environ for name in _CHOICES):
        os.environ["GOMP_SPINCOUNT"] = "1000"


def main() -> int:
    wait_briefly()
    from dec_kernels.trainer import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
