// Enough of CUDA for the kernels of csrc/epilogue_cuda.cu to run on the CPU, so that they are tested without a GPU.
//
// The blocks of a launch run one after the other. The threads of a block are fibers, each with a stack of its own, on
// one thread of the CPU: one of them runs until it waits at a barrier, then the next. So `__shared__` is a static
// variable, and where a barrier is not reached by all, nobody can go on, and the launch says so.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(threads)

using std::max;
using std::min;

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

inline dim3 blockIdx, blockDim, threadIdx;

namespace cuda_on_cpu {

constexpr unsigned kWarp = 32, kMaxThreads = 1024;

struct Fiber {
  std::vector<char> stack;  // empty: it has not started
  jmp_buf place;            // where it goes on
  bool finished = false;
};

struct Barrier {
  unsigned arrived = 0, opened = 0;
};

inline std::array<Fiber, kMaxThreads> fibers;
inline std::function<void()> kernel;
inline jmp_buf scheduler;
inline bool progress;
inline Barrier of_block;
inline std::array<Barrier, kMaxThreads / kWarp> of_warp;

// Back to the scheduler. ucontext starts a fiber, and setjmp switches: unlike swapcontext that makes no system call.
inline void leave() {
  if (!_setjmp(fibers[threadIdx.x].place)) _longjmp(scheduler, 1);
}

inline void life() {
  for (;;) {  // a fiber serves for all launches
    kernel();
    fibers[threadIdx.x].finished = progress = true;
    leave();
  }
}

inline void resume(unsigned thread) {
  threadIdx.x = thread;
  if (_setjmp(scheduler)) return;
  Fiber& fiber = fibers[thread];
  if (!fiber.stack.empty()) _longjmp(fiber.place, 1);
  fiber.stack.resize(1 << 16);
  ucontext_t start;
  getcontext(&start);
  start.uc_stack.ss_sp = fiber.stack.data();
  start.uc_stack.ss_size = fiber.stack.size();
  makecontext(&start, life, 0);
  setcontext(&start);
}

inline void run_block() {
  for (unsigned thread = 0; thread < blockDim.x; ++thread) fibers[thread].finished = false;
  for (bool any_progress = true; any_progress;) {
    any_progress = false;
    for (unsigned first = 0; first < blockDim.x; first += kWarp) {
      do {  // a warp gets as far ahead of the others as it can, so that a missing barrier shows
        progress = false;
        for (unsigned thread = first; thread < first + kWarp; ++thread) {
          if (!fibers[thread].finished) resume(thread);
        }
        any_progress |= progress;
      } while (progress);
    }
  }
  if (std::all_of(&fibers[0], &fibers[blockDim.x], [](const Fiber& fiber) { return fiber.finished; })) return;
  fibers = {};
  of_block = {};
  of_warp = {};
  throw std::logic_error("threads wait at a barrier that not all of them reach");
}

inline void wait(Barrier& barrier, unsigned members) {
  const unsigned before = barrier.opened;
  if (++barrier.arrived == members) {
    barrier = {0, before + 1};
    progress = true;
  }
  while (barrier.opened == before) leave();
}

}  // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::wait(cuda_on_cpu::of_block, blockDim.x); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int distance) {
  // Two sets of values in turn: some lanes are at the next exchange before others have read from this one.
  static std::array<T, cuda_on_cpu::kMaxThreads> values[2];
  auto& barrier = cuda_on_cpu::of_warp[threadIdx.x / cuda_on_cpu::kWarp];
  auto& exchange = values[barrier.opened % 2];
  exchange[threadIdx.x] = value;
  cuda_on_cpu::wait(barrier, cuda_on_cpu::kWarp);
  return exchange[threadIdx.x ^ distance];
}

inline unsigned __ballot_sync(unsigned all, bool vote) {
  unsigned votes = static_cast<unsigned>(vote) << threadIdx.x % cuda_on_cpu::kWarp;
  for (int distance = 1; distance < static_cast<int>(cuda_on_cpu::kWarp); distance *= 2) {
    votes |= __shfl_xor_sync(all, votes, distance);
  }
  return votes;
}

enum cudaError_t { cudaSuccess, cudaErrorInvalidConfiguration };
using cudaStream_t = void*;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  cudaStream_t stream;
};

inline bool fail_launches = false;  // for the tests

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "invalid configuration argument"; }

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const dim3 grid = config->gridDim;
  if (fail_launches || !grid.x || !grid.y || grid.y > 65535) return cudaErrorInvalidConfiguration;
  blockDim = config->blockDim;
  cuda_on_cpu::kernel = [&] { kernel(arguments...); };
  for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y) {
    for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) cuda_on_cpu::run_block();
  }
  return cudaSuccess;
}
