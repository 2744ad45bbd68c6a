// Forward and backward over prepared rows, on the CPU and on CUDA devices.
#pragma once

#include <ATen/ATen.h>

#include <tuple>

#include "arithmetic.h"

namespace dec {

// Patches as rows or as columns: fields of dec_kernels/patches.py; contiguous.
struct Side {
  at::Tensor z, p, x;  // (G, m, D) float32 or float64: unit SR patches, HR patches, and as they are compared
  at::Tensor h_scale;  // (G, m): 1 / |x|
  at::Tensor sketch;   // (G, m, 4)
};

// G groups of r rows, and of m columns, among which the rows are. Where both are the same tensors, all columns are rows.
struct Patches {
  Side rows, columns;
  at::Tensor first, last;  // (G, r) int64: positives of row i are columns first[i] <= j < last[i]
  at::Tensor reach;        // (): sketches of positives are no farther from each other

  bool symmetric() const { return rows.z.is_same(columns.z); }
};

// The gradients of a loss with respect to Qpos and Qneg, (G, r) of the rows and (G, m) of the columns.
struct Gradients {
  at::Tensor row_alpha, row_beta, alpha, beta;
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

// (Qpos, Qneg), (G, r) each. `products`: memory in which the forward leaves its products for the backward, or empty.
std::tuple<at::Tensor, at::Tensor> forward_cpu(const Patches& patches, const Constants& constants,
                                               const at::Tensor& products);

// dL/dz of the rows, (G, r, D). `products`: those of the forward, or empty.
at::Tensor backward_cpu(const Patches& patches, const Constants& constants, const Gradients& gradients,
                        const at::Tensor& products);

// The same on a CUDA device; everything is queued on `stream`, a cudaStream_t, and nothing waits for it.
std::tuple<at::Tensor, at::Tensor> forward_cuda(const Patches& patches, const Constants& constants,
                                                std::uintptr_t stream);
at::Tensor backward_cuda(const Patches& patches, const Constants& constants, const Gradients& gradients,
                         std::uintptr_t stream);

// The dtype of the products' operands and results.
template <typename element>
constexpr at::ScalarType kDtype = at::kBFloat16;
template <>
inline constexpr at::ScalarType kDtype<float> = at::kFloat;
template <>
inline constexpr at::ScalarType kDtype<double> = at::kDouble;

// Both walks are a class template Walk<element, scalar>(patches, constants, ...) with forward(qpos, qneg) and
// backward(gradients, dz) that add up sums without the factors 1 / t; these choose its types and apply the factors.
template <template <typename, typename> class Walk, typename Body, typename... Extra>
void with_walk(const Body& body, const Patches& patches, const Constants& constants, const Extra&... extra) {
  if (patches.rows.z.scalar_type() == at::kDouble) {
    body(Walk<double, double>(patches, constants, extra...));
  } else if (constants.bf16) {
    body(Walk<bf16, float>(patches, constants, extra...));
  } else {
    body(Walk<float, float>(patches, constants, extra...));
  }
}

template <template <typename, typename> class Walk, typename... Extra>
std::tuple<at::Tensor, at::Tensor> walk_forward(const Patches& patches, const Constants& constants,
                                                const Extra&... extra) {
  at::Tensor qpos = at::zeros_like(patches.rows.h_scale), qneg = at::zeros_like(patches.rows.h_scale);
  with_walk<Walk>([&](auto walk) { walk.forward(qpos, qneg); }, patches, constants, extra...);
  if (!constants.inside) {
    qpos.div_(constants.t_pos);
    qneg.div_(constants.t_neg);
  }
  return {qpos, qneg};
}

template <template <typename, typename> class Walk, typename... Extra>
at::Tensor walk_backward(const Patches& patches, const Constants& constants, const Gradients& gradients,
                         const Extra&... extra) {
  at::Tensor dz = at::zeros_like(patches.rows.z);
  const auto over = [](const at::Tensor& gradient, double t) { return gradient.div(t).contiguous(); };
  const Gradients scaled{over(gradients.row_alpha, constants.t_pos), over(gradients.row_beta, constants.t_neg),
                         over(gradients.alpha, constants.t_pos), over(gradients.beta, constants.t_neg)};
  with_walk<Walk>([&](auto walk) { walk.backward(scaled, dz); }, patches, constants, extra...);
  return dz;
}

}  // namespace dec
