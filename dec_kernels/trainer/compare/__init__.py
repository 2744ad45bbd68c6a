"""`dec-train compare` and `dec-train study`: comparing methods by the images that they made.

    dec-train compare --hr photos/hr Bicubic=results/bicubic Ours=results/ours --out comparison
    dec-train compare --hr Set5=data/Set5/HR --hr Urban100=data/Urban100/HR ESRGAN=results/ESRGAN Ours=results/ours
    dec-train compare ... --blind study.html          a page on which people rank the methods
    dec-train study --key study.key.json answers/*.json --out study       what they answered

The first measures PSNR, SSIM and LPIPS of each method on each data set, and shows the crops where the methods differ
most. Its page holds no name of a method; the key beside it does.
"""

from dec_kernels.trainer.compare.run import compare
from dec_kernels.trainer.compare.study import read_study

__all__ = ["compare", "read_study"]
