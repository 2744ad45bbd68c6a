"""An emulator for the PTX that Triton makes of this package's kernels for sm_90, as test equipment.

No GPU takes part. What Triton's interpreter cannot show shows here: what the compiler made of the kernels, where it put
copies, barriers, waits and fences, and how it laid matrices out for the tensor cores.

    compiler      kernels -> PTX, in a process of its own, by the installed Triton or the oldest that the kernels take
    parse         PTX -> instructions
    memory        global and shared memory, and who may see what
    instructions  arithmetic, loads and stores, cp.async, shuffles, ldmatrix and stmatrix, mma.sync
    fragments     where numbers are in registers, and in shared memory by the descriptors of wgmma
    warpgroups    wgmma.mma_async, and the registers that it holds
    run           programs and warps, in some order
    kernels       launches of the backend, on the emulator
    problem       rows to launch kernels on, and what has to come of them in float64

What it models

- Every effect comes as late as it may. A cp.async writes at the cp.async.wait_group that waits for it; until then
  nobody may read or write these bytes. A wgmma reads shared memory and registers, and writes its accumulator, at the
  wgmma.wait_group that waits for it; until then nobody may write the shared memory and the registers that it reads, or
  touch its accumulator. A wgmma.fence has to come between the last write of a register and a wgmma that takes it.
- Shared memory written by threads or by cp.async (the generic proxy) is there for wgmma (the asynchronous proxy) once
  a fence.proxy.async stands between them: by the writer, before a barrier, or behind that barrier, by any warp for what
  follows a barrier and by the reader for itself.
- Races: two warps that touch the same bytes of shared memory between two barriers, one of them writing something new.
  Programs that touch what another program of the launch wrote to global memory.
- Shared memory that nobody wrote, addresses outside of the tensors or of shared memory, addresses not aligned to
  their access, lanes that differ in a branch or in a descriptor.
- Warps run between barriers in step, one after the other in either direction, or a few instructions at a time in an
  order drawn by chance; programs in an order drawn by chance.

What it does not

- Time: nothing of speed, of occupancy, or of what a bank conflict costs. ptxas: it may still change what it is given.
- The order of lanes within a warp, which go in step; of accesses to global memory among the warps of a program.
- Numbers to the last bit. The tensor cores' products are exact here, and each instruction's sum is rounded once from
  float64; theirs cut off, in an order of their own. tf32 operands are cut off at 19 bits, as theirs. ex2.approx and
  div.full are as exact as NumPy is, and a float64 fma is rounded twice.
- Instructions that these kernels have no use for: mbarrier, TMA, atomics, named barriers, divergent branches,
  transposed or negated left operands. They are a `Fault`, too.

Instructions follow the PTX ISA 9. Its model of memory asks for a proxy fence after a cp.async as well; Triton 3.6
leaves that one to the kernels.
"""
