// The CUDA path of the extension on the CPU: its two sources as they are, with the cuda_runtime.h beside this file.
#include <torch/library.h>

#include "epilogue_cuda.cu"
#include "walk_cuda.cpp"

namespace {

using at::Tensor;
using Tensors = std::vector<Tensor>;

dec::Patches patches(const Tensors& rows, const Tensors& columns, const Tensors& band) {
  const auto side = [](const Tensors& x) { return dec::Side{x[0], x[1], x[2], x[3], x[4]}; };
  return {side(rows), side(columns), band[0], band[1], band[2]};
}

std::tuple<Tensor, Tensor> forward(const Tensors& rows, const Tensors& columns, const Tensors& band, double radius, double t_pos, double t_neg, bool inside,
                                   bool bf16) {
  return dec::forward_cuda(patches(rows, columns, band), {radius, t_pos, t_neg, inside, bf16}, 0);
}

Tensor backward(const Tensors& rows, const Tensors& columns, const Tensors& band, double radius,
                double t_pos, double t_neg, bool inside, bool bf16, const Tensors& g) {
  return dec::backward_cuda(patches(rows, columns, band), {radius, t_pos, t_neg, inside, bf16},
                            {g[0], g[1], g[2], g[3]}, 0);
}

TORCH_LIBRARY(dec_cuda_on_cpu, library) {
  library.def("forward", forward);
  library.def("backward", backward);
  library.def("fail_launches", [](bool fail) { fail_launches = fail; });
}

// Products of bf16 operands with float32 results, which PyTorch has on CUDA devices only.
TORCH_LIBRARY_IMPL(aten, CPU, library) {
  library.impl("bmm.dtype", [](const Tensor& a, const Tensor& b, at::ScalarType dtype) {
    return at::bmm(a.to(dtype), b.to(dtype));
  });
  library.impl("bmm.dtype_out", [](const Tensor& a, const Tensor& b, at::ScalarType dtype, Tensor& out) -> Tensor& {
    return at::bmm_out(out, a.to(dtype), b.to(dtype));
  });
}

}  // namespace
