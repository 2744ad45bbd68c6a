"""python -m tests.ptx.sweep [installed|oldest] [WIDTH ...]: every preset of the sm_90 tile table on the emulator.

Takes half an hour for all widths, so it is no part of the tests. Prints what each direction came to.
"""

import os
import sys

os.environ["TRITON_INTERPRET"] = "1"  # before the kernels are imported

from dec_kernels.backends.triton import aot, tiles
from tests.ptx.compiler import Compiler
from tests.ptx.parse import Fault
from tests.ptx.problem import Problem
from tests.ptx.test_kernels import IN_STEP, backward, forward


def main() -> None:
    lane, *widths = sys.argv[1:] or ["installed"]
    faults = 0
    with Compiler(lane) as compiler:
        for architecture, width, precision in tiles.TABLE:
            if architecture != "sm_90" or (widths and str(width) not in widths):
                continue
            problem = Problem.random(1, 4 * 128 + 9, 140, aot.DIMS[width], precision)
            for direction in (forward, backward):
                try:
                    direction(problem, compiler, IN_STEP, 1)
                    result = "agrees with float64"
                except (Fault, AssertionError, RuntimeError) as error:
                    result = f"FAULT: {error}".splitlines()[0]
                    faults += 1
                print(lane, width, precision, direction.__name__, result, flush=True)
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
