"""Arithmetic on single numbers: exponentials, roundings, and float64 arguments."""

import triton
import triton.language as tl


@triton.jit
def small_exp2(x):
    """2^x for |x| <= 1.45 to 4.4e-5 of its value, without the special-function unit.

    That is as far as exponents go with the temperature outside: log2(e), and a little for rounded operands. Of all
    polynomials of degree 5 this one has the smallest relative error there (Remez).
    """
    y = 0.0012860350543633103 * x + 0.010079486295580864
    y = y * x + 0.05571049824357033
    y = y * x + 0.23990443348884583
    y = y * x + 0.693030834197998
    return y * x + 1.0000282526016235


@triton.jit
def round_bits(x, ROUNDED: tl.constexpr):
    """float32 to the nearest number whose low ROUNDED bits are zero: 13 make it a TF32.

    The tensor cores by themselves cut these bits off, which would make every product of a weight too small. A device's
    NaN, all bits set, becomes a zero.
    """
    if ROUNDED > 0:
        bits = x.to(tl.int32, bitcast=True)
        x = ((bits + (1 << (ROUNDED - 1))) & -(1 << ROUNDED)).to(tl.float32, bitcast=True)
    return x


@triton.jit
def round_numbers(x, ROUNDED: tl.constexpr):
    """The same, and a NaN stays one."""
    return tl.where(x == x, round_bits(x, ROUNDED), x)


@triton.jit
def float64_of(bits):
    """A number that has to arrive whole: a float argument of a kernel can be rounded to float32 on its way."""
    return bits.to(tl.int64).to(tl.float64, bitcast=True)
