"""Rates of GPUs, from their makers' documents."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """Peak rates, at the boost clock.

    Attributes:
        sm: the compute capability that kernels are compiled for.
        multiprocessors: how many of them.
        clock: in Hz.
        tf32, bf16: FLOP/s of all tensor cores, dense, accumulating in float32; a multiply-add counts as two.
        fp32, integer: instructions of a thread that a multiprocessor does per clock in float32, and of all other kinds.
        shared: bytes of shared memory of a multiprocessor, for all programs that it runs.
        threads, programs: the most that a multiprocessor holds.
        l2, dram: bytes/s.
        source: where the numbers come from.
    """

    sm: str
    multiprocessors: int
    clock: float
    tf32: float
    bf16: float
    fp32: int
    integer: int
    shared: int
    threads: int
    programs: int
    l2: float
    dram: float
    source: str

    @property
    def rates(self) -> dict[str, float]:
        """Unit -> how much of it the GPU does per second, in what `code` counts."""
        each = self.multiprocessors * self.clock
        return {
            "TF32": self.tf32 / 2,
            "BF16": self.bf16 / 2,
            "special functions": SPECIAL * each,
            "FP32": self.fp32 * each,
            "integer": self.integer * each,
            "shared memory": SHARED_BYTES * each,
            "issue": ISSUES * each,
            "L2": self.l2,
            "DRAM": self.dram,
        }


# Per clock and multiprocessor, in all of these: special functions and conversions of threads (CUDA C++ Programming
# Guide, "Arithmetic Instructions", compute capabilities 8.0 to 12.0); bytes of shared memory, 32 banks of 4 bytes
# ("Shared Memory", the same guide); instructions of warps, one by each of four schedulers (the whitepapers).
SPECIAL = 16
SHARED_BYTES = 128
ISSUES = 4
REGISTERS = 65536  # of a multiprocessor
RESERVED = 1024  # bytes of shared memory that each program takes beside its own, since compute capability 8.0

# NVIDIA states the bandwidth of the L2 cache for A100 alone: 5120 bytes per clock. The others are assumed to have as
# much per clock, so their L2 terms are the weakest numbers here.
L2_BYTES_PER_CLOCK = 5120

_HOPPER = (
    "NVIDIA H100 whitepaper, tables 2 and 3 (rates, SMs, threads, shared memory), at the clock that the dense tensor "
    "rates imply; "
)
GPUS = {
    "A100 SXM 80 GB": Gpu(
        sm="sm_80",
        multiprocessors=108,
        clock=1.410e9,
        tf32=156e12,
        bf16=312e12,
        fp32=64,
        integer=64,
        shared=164 * 1024,
        threads=2048,
        programs=32,
        l2=L2_BYTES_PER_CLOCK * 1.410e9,
        dram=2.039e12,
        source="NVIDIA A100 80GB datasheet (rates, DRAM); A100 whitepaper, tables 1 and 4 (clock, SMs, lanes, L2)",
    ),
    "H100 SXM": Gpu(
        sm="sm_90",
        multiprocessors=132,
        clock=1.830e9,
        tf32=494.7e12,
        bf16=989.4e12,
        fp32=128,
        integer=64,
        shared=228 * 1024,
        threads=2048,
        programs=32,
        l2=L2_BYTES_PER_CLOCK * 1.830e9,
        dram=3.35e12,
        source=_HOPPER + "H100 datasheet (DRAM)",
    ),
    "H200": Gpu(
        sm="sm_90",
        multiprocessors=132,
        clock=1.830e9,
        tf32=494.7e12,
        bf16=989.4e12,
        fp32=128,
        integer=64,
        shared=228 * 1024,
        threads=2048,
        programs=32,
        l2=L2_BYTES_PER_CLOCK * 1.830e9,
        dram=4.8e12,
        source=_HOPPER + "H200 datasheet (DRAM; the other rates are H100's)",
    ),
    "B200": Gpu(
        sm="sm_100",
        multiprocessors=148,
        clock=1.980e9,
        tf32=1125e12,
        bf16=2250e12,
        fp32=128,
        integer=64,
        shared=228 * 1024,
        threads=2048,
        programs=32,
        l2=L2_BYTES_PER_CLOCK * 1.980e9,
        dram=7.7e12,
        source="NVIDIA HGX B200 datasheet, an eighth of the eight GPUs, half of the sparse rates; "
        "SMs as the device reports them, the clock from FP32 rate and SMs; lanes as H100's",
    ),
    "RTX 5090": Gpu(
        sm="sm_120",
        multiprocessors=170,
        clock=2.407e9,
        tf32=104.8e12,
        bf16=209.5e12,
        fp32=128,
        integer=128,
        shared=100 * 1024,
        threads=1536,
        programs=24,
        l2=L2_BYTES_PER_CLOCK * 2.407e9,
        dram=1.792e12,
        source="NVIDIA RTX Blackwell GPU Architecture whitepaper, appendix A (dense, FP32 accumulate)",
    ),
}
