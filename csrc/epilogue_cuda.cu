#include "epilogue_cuda.h"

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <type_traits>

namespace dec {
namespace {

constexpr int kThreads = 256;  // one block of threads a row of the tile
constexpr int kWarp = 32;
constexpr int kTeam = 8;  // lanes that share a distance: side by side they read 32 bytes, the least that memory moves

// What one block of threads works on.
template <typename scalar>
struct Row {
  std::int64_t row, column;  // offsets of row i in the (G, r) arrays and of the tile's first column in the (G, m) ones
  int begin, end;            // the band, counted in columns of the tile
  scalar *s, *x;

  __device__ explicit Row(const CudaTile<scalar>& tile) {
    const std::int64_t group = tile.first_group + blockIdx.y;
    row = group * tile.r + tile.first_row + blockIdx.x;
    column = group * tile.m + tile.first_column;
    begin = static_cast<int>(max(tile.first[row] - tile.first_column, std::int64_t{0}));
    end = static_cast<int>(min(tile.last[row] - tile.first_column, tile.columns));
    const std::int64_t offset = (blockIdx.y * tile.rows + blockIdx.x) * tile.columns;
    s = tile.s + offset;
    x = tile.x + offset;
  }
};

// The sum over so many neighbouring lanes, in each of them; always in the same order. The whole warp calls it.
template <int lanes, typename scalar>
__device__ scalar sum_over(scalar value) {
  for (int distance = lanes / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

// The sum over the block of threads, in thread 0; always in the same order.
template <typename scalar>
__device__ scalar block_sum(scalar value) {
  __shared__ scalar partial[kThreads / kWarp];
  value = sum_over<kWarp>(value);
  __syncthreads();  // `partial` may still be read for the sum before
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kThreads / kWarp; ++warp) value += partial[warp];
  }
  return value;
}

// |p_i - p_j|^2 over every `step`-th value. Differences cannot cancel, see epilogue_cpu.cpp.
template <typename sum, typename scalar>
__device__ sum squared_distance(const scalar* p_i, const scalar* p_j, std::int64_t start, std::int64_t dim, int step) {
  sum total = 0;
  for (std::int64_t d = start; d < dim; d += step) {
    const sum difference = static_cast<sum>(p_i[d]) - static_cast<sum>(p_j[d]);
    total += difference * difference;
  }
  return total;
}

// Whether column j is a positive of the row, where the lanes of a warp hold neighbouring columns and call it together.
// A lane alone would read p_j with a stride of dim, 32 bytes for the sake of 4. So a team of lanes works on the columns
// of its members one after the other, those that their sketches do not rule out, and each keeps its own.
template <typename scalar>
__device__ bool positive(const CudaTile<scalar>& tile, const Row<scalar>& at, int j) {
  bool near = at.begin <= j && j < at.end;
  if (near) {
    const scalar *x = tile.row_sketch + at.row * 4, *y = tile.sketch + (at.column + j) * 4;
    near = within_reach(x[0] - y[0], x[1] - y[1], x[2] - y[2], x[3] - y[3], squared_reach(*tile.reach));
  }
  const unsigned near_in_warp = __ballot_sync(0xffffffffu, near);
  if (!near_in_warp) return false;
  const int lane = j % kTeam;
  const unsigned near_in_team = near_in_warp >> (j % kWarp - lane);
  const scalar* p_i = tile.row_p + at.row * tile.dim;
  const scalar* p_0 = tile.p + at.column * tile.dim;
  scalar squared = 0;
  for (int member = 0; member < kTeam; ++member) {
    scalar part = 0;
    if (near_in_team >> member & 1) {
      part = squared_distance<scalar>(p_i, p_0 + (j - lane + member) * tile.dim, lane, tile.dim, kTeam);
    }
    part = sum_over<kTeam>(part);
    if (member == lane) squared = part;
  }
  if (!near) return false;
  if constexpr (std::is_same_v<scalar, float>) {
    const Verdict quick = verdict(squared, tile.radius);
    if (quick != Verdict::ask_float64) return quick == Verdict::positive;
    return sqrt(squared_distance<double>(p_i, p_0 + j * tile.dim, 0, tile.dim, 1)) <= tile.radius;
  } else {
    return sqrt(squared) <= tile.radius;
  }
}

template <bool inside, typename scalar>
__global__ void __launch_bounds__(kThreads)
    add_sums_kernel(const CudaTile<scalar> tile, scalar* __restrict__ qpos, scalar* __restrict__ qneg) {
  const Row<scalar> at(tile);
  const scalar row_scale = tile.row_scale[at.row];
  scalar pos = 0, neg = 0;
  for (int start = 0; start < tile.columns; start += kThreads) {
    const int j = start + static_cast<int>(threadIdx.x);
    const bool m = positive(tile, at, j);
    if (j >= tile.columns) continue;
    const scalar e = exp_of<inside>(at.s[j], m, tile.temperature) +
                     2 * exp_of<inside>(at.x[j] * row_scale, m, tile.temperature);
    pos += m ? e : 0;
    neg += m ? 0 : e;
  }
  pos = block_sum(pos);
  neg = block_sum(neg);
  if (threadIdx.x == 0) {
    qpos[at.row] += pos;
    qneg[at.row] += neg;
  }
}

template <bool inside, typename element, typename scalar>
__global__ void __launch_bounds__(kThreads)
    make_weights_kernel(const CudaTile<scalar> tile, const CudaGradients<scalar> gradients) {
  const Row<scalar> at(tile);
  const scalar row_alpha = gradients.row_alpha[at.row], row_beta = gradients.row_beta[at.row];
  element* s_weights = reinterpret_cast<element*>(at.s);
  element* x_weights = reinterpret_cast<element*>(at.x);
  for (int start = 0; start < tile.columns; start += kThreads) {
    const int j = start + static_cast<int>(threadIdx.x);
    const bool m = positive(tile, at, j);
    scalar s = 0, x = 0;
    if (j < tile.columns) {
      const scalar w_row = m ? row_alpha : row_beta;
      const scalar w_column = (m ? gradients.alpha : gradients.beta)[at.column + j];
      const scalar scale = tile.h_scale[at.column + j];
      s = (w_row + w_column) * exp_of<inside>(at.s[j], m, tile.temperature);
      x = 2 * w_column * scale * exp_of<inside>(at.x[j] * scale, m, tile.temperature);
    }
    __syncthreads();  // narrow weights lie where similarities were that other threads read, up to here at the latest
    if (j < tile.columns) {
      store(s_weights[j], s);
      store(x_weights[j], x);
    }
  }
}

template <typename... Parameters, typename scalar, typename... Arguments>
void launch(void (*kernel)(Parameters...), void* stream, const CudaTile<scalar>& tile, Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(tile.rows), static_cast<unsigned>(tile.groups));
  config.blockDim = dim3(kThreads);
  config.stream = static_cast<cudaStream_t>(stream);
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, tile, arguments...);
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or PyTorch would report it again, as a failure of what it launches next
  throw std::runtime_error(std::string("a CUDA kernel of dec_kernels was not launched: ") + cudaGetErrorString(status));
}

}  // namespace

template <typename scalar>
void add_sums_cuda(const CudaTile<scalar>& tile, scalar* qpos, scalar* qneg, void* stream) {
  launch(tile.temperature.inside ? add_sums_kernel<true, scalar> : add_sums_kernel<false, scalar>, stream, tile, qpos,
         qneg);
}

template <typename element, typename scalar>
void make_weights_cuda(const CudaTile<scalar>& tile, const CudaGradients<scalar>& gradients, void* stream) {
  launch(tile.temperature.inside ? make_weights_kernel<true, element, scalar>
                                 : make_weights_kernel<false, element, scalar>,
         stream, tile, gradients);
}

template void add_sums_cuda(const CudaTile<float>&, float*, float*, void*);
template void add_sums_cuda(const CudaTile<double>&, double*, double*, void*);
template void make_weights_cuda<float>(const CudaTile<float>&, const CudaGradients<float>&, void*);
template void make_weights_cuda<double>(const CudaTile<double>&, const CudaGradients<double>&, void*);
template void make_weights_cuda<bf16>(const CudaTile<float>&, const CudaGradients<float>&, void*);

}  // namespace dec
