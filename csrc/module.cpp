// The bindings: prepared rows in, sums or row gradients out. The arguments were checked in Python.
// Not <torch/extension.h>, of which nothing else is needed here and which takes twice as long to compile.
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include "walk.h"

namespace {

using at::Tensor;
using SideTensors = std::array<Tensor, 4>;      // z, p, p_scale, sketch
using BandTensors = std::array<Tensor, 3>;      // first, last, reach
using GradientTensors = std::array<Tensor, 4>;  // alpha and beta of the rows, then of the columns

dec::Patches patches(const SideTensors& rows, const SideTensors& columns, const BandTensors& band) {
  return {{rows[0], rows[1], rows[2], rows[3]}, {columns[0], columns[1], columns[2], columns[3]}, band[0], band[1], band[2]};
}

template <typename... Stream>
auto entry(std::tuple<Tensor, Tensor> (*forward)(const dec::Patches&, const dec::Constants&, Stream...)) {
  return [forward](const SideTensors& rows, const SideTensors& columns, const BandTensors& band,
                   double radius, double t_pos, double t_neg, bool inside, bool bf16, Stream... stream) {
    return forward(patches(rows, columns, band), {radius, t_pos, t_neg, inside, bf16}, stream...);
  };
}

template <typename... Stream>
auto entry(Tensor (*backward)(const dec::Patches&, const dec::Constants&, const dec::Gradients&, Stream...)) {
  return [backward](const SideTensors& rows, const SideTensors& columns, const BandTensors& band,
                    double radius, double t_pos, double t_neg, bool inside, bool bf16, const GradientTensors& g,
                    Stream... stream) {
    return backward(patches(rows, columns, band), {radius, t_pos, t_neg, inside, bf16},
                    {g[0], g[1], g[2], g[3]}, stream...);
  };
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  using release_gil = pybind11::call_guard<pybind11::gil_scoped_release>;
  module.def("forward_cpu", entry(dec::forward_cpu), release_gil());
  module.def("backward_cpu", entry(dec::backward_cpu), release_gil());
#ifdef DEC_WITH_CUDA
  module.def("forward_cuda", entry(dec::forward_cuda), release_gil());
  module.def("backward_cuda", entry(dec::backward_cuda), release_gil());
#endif
}
