// Forward and backward over prepared rows on the CPU.
#pragma once

#include <ATen/ATen.h>

#include <tuple>

namespace dec {

// The fields of dec_kernels/patches.py that a walk reads; all contiguous.
struct Rows {
  at::Tensor z, p;          // (G, m, D) float32 or float64: unit SR rows, HR rows
  at::Tensor p_scale;       // (G, m): 1 / |p|
  at::Tensor first, last;   // (G, m) int64: positives of row i have first[i] <= j < last[i]
};

// Constants of dec_kernels/spec.py. `bf16`: float32 rows are rounded to bfloat16 for the products.
struct Constants {
  double radius, t_pos, t_neg;
  bool inside, bf16;
};

// (Qpos, Qneg), (G, m) each.
std::tuple<at::Tensor, at::Tensor> forward_cpu(const Rows& rows, const Constants& constants);

// dL/dz (G, m, D) from alpha = dL/dQpos and beta = dL/dQneg, (G, m) each.
at::Tensor backward_cpu(const Rows& rows, const Constants& constants, const at::Tensor& alpha, const at::Tensor& beta);

}  // namespace dec
