// Forward and backward over prepared rows, on the CPU and on CUDA devices.
#pragma once

#include <ATen/ATen.h>

#include <tuple>

#include "arithmetic.h"

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

  template <typename scalar>
  Temperature<scalar> temperature() const {
    return {inside, static_cast<scalar>(inside ? 1 / t_pos : 1), static_cast<scalar>(inside ? 1 / t_neg : 1)};
  }
};

// (Qpos, Qneg), (G, m) each.
std::tuple<at::Tensor, at::Tensor> forward_cpu(const Rows& rows, const Constants& constants);

// dL/dz (G, m, D) from alpha = dL/dQpos and beta = dL/dQneg, (G, m) each.
at::Tensor backward_cpu(const Rows& rows, const Constants& constants, const at::Tensor& alpha, const at::Tensor& beta);

// The same on a CUDA device; everything is queued on `stream`, a cudaStream_t, and nothing waits for it.
std::tuple<at::Tensor, at::Tensor> forward_cuda(const Rows& rows, const Constants& constants, std::uintptr_t stream);
at::Tensor backward_cuda(const Rows& rows, const Constants& constants, const at::Tensor& alpha, const at::Tensor& beta,
                         std::uintptr_t stream);

// The dtype of the products' operands and results.
template <typename element>
constexpr at::ScalarType kDtype = at::kBFloat16;
template <>
inline constexpr at::ScalarType kDtype<float> = at::kFloat;
template <>
inline constexpr at::ScalarType kDtype<double> = at::kDouble;

// Both walks are a class template Walk<element, scalar>(rows, constants, ...) with forward(qpos, qneg) and
// backward(alpha, beta, dz) that add up sums without the factors 1 / t; these choose its types and apply the factors.
template <template <typename, typename> class Walk, typename Body, typename... Extra>
void with_walk(const Body& body, const Rows& rows, const Constants& constants, const Extra&... extra) {
  if (rows.z.scalar_type() == at::kDouble) {
    body(Walk<double, double>(rows, constants, extra...));
  } else if (constants.bf16) {
    body(Walk<bf16, float>(rows, constants, extra...));
  } else {
    body(Walk<float, float>(rows, constants, extra...));
  }
}

template <template <typename, typename> class Walk, typename... Extra>
std::tuple<at::Tensor, at::Tensor> walk_forward(const Rows& rows, const Constants& constants, const Extra&... extra) {
  at::Tensor qpos = at::zeros_like(rows.p_scale), qneg = at::zeros_like(rows.p_scale);
  with_walk<Walk>([&](auto walk) { walk.forward(qpos, qneg); }, rows, constants, extra...);
  if (!constants.inside) {
    qpos.div_(constants.t_pos);
    qneg.div_(constants.t_neg);
  }
  return {qpos, qneg};
}

template <template <typename, typename> class Walk, typename... Extra>
at::Tensor walk_backward(const Rows& rows, const Constants& constants, const at::Tensor& alpha, const at::Tensor& beta,
                         const Extra&... extra) {
  at::Tensor dz = at::zeros_like(rows.z);
  const at::Tensor a = alpha.div(constants.t_pos).contiguous(), b = beta.div(constants.t_neg).contiguous();
  with_walk<Walk>([&](auto walk) { walk.backward(a, b, dz); }, rows, constants, extra...);
  return dz;
}

}  // namespace dec
