#include "epilogue_cuda.h"

#include <cuda_runtime.h>

namespace dec {
namespace {

constexpr int kThreads = 256;  // one block of threads a row of the tile
constexpr int kWarp = 32;

// The rows of one block of threads.
template <typename element, typename scalar>
struct Row {
  std::int64_t row, column;   // offsets of row i and of the tile's first column in the (G, m) arrays
  std::int64_t begin, end;    // the band, counted in columns of the tile
  element *s, *x;

  __device__ explicit Row(const CudaTile<element, scalar>& tile) {
    const std::int64_t group = (tile.first_group + blockIdx.y) * tile.m;
    row = group + tile.first_row + blockIdx.x;
    column = group + tile.first_column;
    begin = tile.first[row] - tile.first_column;
    end = tile.last[row] - tile.first_column;
    const std::int64_t offset = (blockIdx.y * tile.rows + blockIdx.x) * tile.columns;
    s = tile.s + offset;
    x = tile.x + offset;
  }
};

template <typename sum, typename scalar>
__device__ sum squared_distance(const scalar* p_i, const scalar* p_j, std::int64_t dim) {
  sum total = 0;
  for (std::int64_t d = 0; d < dim; ++d) {
    const sum difference = static_cast<sum>(p_i[d]) - static_cast<sum>(p_j[d]);
    total += difference * difference;
  }
  return total;
}

template <typename element, typename scalar>
__device__ bool positive(const CudaTile<element, scalar>& tile, const Row<element, scalar>& at, std::int64_t j) {
  if (j < at.begin || j >= at.end) return false;
  const scalar* p_i = tile.p + at.row * tile.dim;
  const scalar* p_j = tile.p + (at.column + j) * tile.dim;
  if (sizeof(scalar) == sizeof(float)) {
    const Verdict quick = verdict(squared_distance<float>(p_i, p_j, tile.dim), tile.radius);
    if (quick != Verdict::ask_float64) return quick == Verdict::positive;
  }
  return sqrt(squared_distance<double>(p_i, p_j, tile.dim)) <= tile.radius;
}

// The sum over the block of threads, in thread 0; always in the same order.
template <typename scalar>
__device__ scalar block_sum(scalar value) {
  __shared__ scalar partial[kThreads / kWarp];
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
  __syncthreads();  // `partial` may still be read for the sum before
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kThreads / kWarp; ++warp) value += partial[warp];
  }
  return value;
}

template <bool inside, typename element, typename scalar>
__global__ void __launch_bounds__(kThreads)
    add_sums_kernel(const CudaTile<element, scalar> tile, scalar* __restrict__ qpos, scalar* __restrict__ qneg) {
  const Row<element, scalar> at(tile);
  const scalar row_scale = tile.p_scale[at.row];
  scalar pos = 0, neg = 0;
  for (std::int64_t j = threadIdx.x; j < tile.columns; j += kThreads) {
    const bool m = positive(tile, at, j);
    const scalar e = exp_of<inside>(load(at.s[j]), m, tile.temperature) +
                     2 * exp_of<inside>(load(at.x[j]) * row_scale, m, tile.temperature);
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
    make_weights_kernel(const CudaTile<element, scalar> tile, const scalar* __restrict__ alpha,
                        const scalar* __restrict__ beta) {
  const Row<element, scalar> at(tile);
  const scalar row_alpha = alpha[at.row], row_beta = beta[at.row];
  for (std::int64_t j = threadIdx.x; j < tile.columns; j += kThreads) {
    const bool m = positive(tile, at, j);
    const scalar w_row = m ? row_alpha : row_beta;
    const scalar w_column = m ? alpha[at.column + j] : beta[at.column + j];
    const scalar scale = tile.p_scale[at.column + j];
    store(at.s[j], (w_row + w_column) * exp_of<inside>(load(at.s[j]), m, tile.temperature));
    store(at.x[j], 2 * w_column * scale * exp_of<inside>(load(at.x[j]) * scale, m, tile.temperature));
  }
}

template <typename element, typename scalar>
dim3 grid(const CudaTile<element, scalar>& tile) {
  return dim3(static_cast<unsigned>(tile.rows), static_cast<unsigned>(tile.groups));
}

}  // namespace

template <typename element, typename scalar>
void add_sums_cuda(const CudaTile<element, scalar>& tile, scalar* qpos, scalar* qneg, void* stream) {
  const auto kernel = tile.temperature.inside ? add_sums_kernel<true, element, scalar>
                                              : add_sums_kernel<false, element, scalar>;
  kernel<<<grid(tile), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(tile, qpos, qneg);
}

template <typename element, typename scalar>
void make_weights_cuda(const CudaTile<element, scalar>& tile, const scalar* alpha, const scalar* beta, void* stream) {
  const auto kernel = tile.temperature.inside ? make_weights_kernel<true, element, scalar>
                                              : make_weights_kernel<false, element, scalar>;
  kernel<<<grid(tile), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(tile, alpha, beta);
}

#define DEC_INSTANCE(element, scalar)                                                                  \
  template void add_sums_cuda(const CudaTile<element, scalar>&, scalar*, scalar*, void*);               \
  template void make_weights_cuda(const CudaTile<element, scalar>&, const scalar*, const scalar*, void*);

DEC_INSTANCE(float, float)
DEC_INSTANCE(double, double)
DEC_INSTANCE(bf16, float)

}  // namespace dec
