"""The kernels, in Triton's language; `host` launches them.

- `prepare`: images to rows, and the way back.
- `forward`: the row sums of Eqs. 40 and 41.
- `backward`: dL/dz.
- `walk`: which tiles of columns a program meets.
- `products`: chunks of rows, and their products on the tensor cores.
- `mask`: the exact mask of Eq. 37.
- `arithmetic`: functions of single numbers.

All of it works on base-2 exponents: rows are prepared as z' = c z and h' = c h with c^2 = log2(e), or log2(e) / t_neg
with the temperature inside, so that

    exp2(z'_i . z'_j) = exp S_ij        (or exp(S_ij / t_neg))

comes from the special-function unit alone. `positive_ratio` = t_neg / t_pos turns it into exp(S_ij / t_pos) where the
temperature is inside; outside it is 1.

Rows are columns too, but lie in arrays of their own, side by side, so that a block's addresses have one base; where all
columns are rows these are the same.
"""
