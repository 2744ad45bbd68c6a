"""A small forward and backward of each fused backend in each preset, for compute-sanitizer to watch.

compute-sanitizer --tool memcheck python -m benchmarks.gpu.sanitize cuda
"""

import sys

from benchmarks.gpu.competitors import FUSED, PRESETS
from benchmarks.workload import images
from dec_kernels import dec_loss

# No multiple of any tile: the last one of each is cut.
N, PATCH_SIZE = 300, 4


def main() -> None:
    (device,) = sys.argv[1:]
    ran = 0
    for backend in FUSED:
        for precision in PRESETS:
            sr, hr = images(N, PATCH_SIZE, device=device)
            try:
                loss = dec_loss(sr.requires_grad_(), hr, PATCH_SIZE, backend=backend, precision=precision)
                loss.backward()
            except Exception as error:  # one that cannot run here keeps no other from being watched
                print(f"{backend} in {precision} did not run: {error}")
            else:
                print(f"{backend} in {precision} ran: {loss.item():.6f}")
                ran += 1
    sys.exit(0 if ran else "nothing could run")


if __name__ == "__main__":
    main()
