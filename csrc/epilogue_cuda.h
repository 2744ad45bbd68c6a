// The epilogues of a stack of tiles on the GPU. No header of PyTorch or CUDA here: plain nvcc compiles the .cu file,
// and the C++ compiler what calls it. A launch that fails throws std::runtime_error; nothing waits for the device.
#pragma once

#include "arithmetic.h"

namespace dec {

// One-sided: the rows of the tile own their results, the columns only contribute. So no two threads write to one place,
// and the sums have a fixed order.
template <typename scalar>
struct CudaTile {
  std::int64_t groups, rows, columns;                   // of the stack: at most 65535 groups, a launch takes no more
  std::int64_t first_group, first_row, first_column;    // where it lies in the whole
  std::int64_t r, m, dim;                               // rows of a group, columns of a group, values of each

  // The stack, (groups, rows, columns) each: s = z_i . z_j; x = hr_i . z_j forward, z_i . hr_j backward, with HR
  // rows as they are compared (`Side::x`).
  scalar *s, *x;

  // The whole, (G, r) of rows and (G, m) of columns, and p (G, r, dim) and (G, m, dim).
  const scalar *row_p, *row_scale, *p, *h_scale;
  const std::int64_t *first, *last;  // the band: positives of row i have first[i] <= j < last[i]
  const scalar *row_sketch, *sketch;  // (G, r, 4) and (G, m, 4)
  const scalar* reach;                // one number

  double radius;
  Temperature<scalar> temperature;
};

// dL/dQpos and dL/dQneg, of the rows (G, r) and of the columns (G, m), over t.
template <typename scalar>
struct CudaGradients {
  const scalar *row_alpha, *row_beta, *alpha, *beta;
};

// Adds to Qpos and Qneg (G, r) of the rows what the columns give them, without the factors 1 / t.
template <typename scalar>
void add_sums_cuda(const CudaTile<scalar>& tile, scalar* qpos, scalar* qneg, void* stream);

// Turns the similarities into the weights of the gradient products, in place.
//
//   s <- (w_ij + w_ji) x(S_ij)                dz_I += s z_J
//   x <- 2 w_ji x(A_ji) h_scale_j             dz_I += x hr_J
//
// The weights are `element`, what those products take. Where that is narrower than the similarities, each row of
// weights lies at the start of its row of similarities.
template <typename element, typename scalar>
void make_weights_cuda(const CudaTile<scalar>& tile, const CudaGradients<scalar>& gradients, void* stream);

}  // namespace dec
