"""A small forward and backward of each fused backend in each preset, for compute-sanitizer to watch.

compute-sanitizer --tool memcheck python -m benchmarks.gpu.sanitize cuda
"""

import sys

from benchmarks.gpu.competitors import FUSED, PRESETS
from benchmarks.workload import images
from dec_kernels import dec_loss

# No multiple of any tile: the last one of each is cut. First the patches that the loss is usually given.
N, PATCH_SIZES = {"cuda": 300, "cpu": 20}, (8, 4)


def main() -> None:
    (device,) = sys.argv[1:]
    ran = 0
    for patch_size, backend, precision in ((p, b, x) for p in PATCH_SIZES for b in FUSED for x in PRESETS):
        sr, hr = images(N[device], patch_size, device=device)
        what = f"{backend} in {precision}, P = {patch_size}"
        try:
            loss = dec_loss(sr.requires_grad_(), hr, patch_size, backend=backend, precision=precision)
            loss.backward()
        except Exception as error:  # one that cannot run here keeps no other from being watched
            print(f"{what} did not run: {error}", flush=True)
        else:
            print(f"{what} ran: {loss.item():.6f}", flush=True)
            ran += 1
    sys.exit(0 if ran else "nothing could run")


if __name__ == "__main__":
    main()
