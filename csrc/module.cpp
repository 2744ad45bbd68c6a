// The bindings: prepared rows in, sums or row gradients out. The arguments were checked in Python.
// Not <torch/extension.h>, of which nothing else is needed here and which takes twice as long to compile.
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include "near_cpu.h"
#include "prepare_cpu.h"
#include "walk.h"

namespace {

using at::Tensor;
using SideTensors = std::array<Tensor, 5>;      // z, p, x, h_scale, sketch
using BandTensors = std::array<Tensor, 3>;      // first, last, reach
using GradientTensors = std::array<Tensor, 4>;  // alpha and beta of the rows, then of the columns

dec::Patches patches(const SideTensors& rows, const SideTensors& columns, const BandTensors& band) {
  const auto side = [](const SideTensors& x) { return dec::Side{x[0], x[1], x[2], x[3], x[4]}; };
  return {side(rows), side(columns), band[0], band[1], band[2]};
}

// `Last` is what the walk of that device takes beside all this.
template <typename Last>
auto entry(std::tuple<Tensor, Tensor> (*forward)(const dec::Patches&, const dec::Constants&, Last)) {
  return [forward](const SideTensors& rows, const SideTensors& columns, const BandTensors& band,
                   double radius, double t_pos, double t_neg, bool inside, bool bf16, Last last) {
    return forward(patches(rows, columns, band), {radius, t_pos, t_neg, inside, bf16}, last);
  };
}

template <typename Last>
auto entry(Tensor (*backward)(const dec::Patches&, const dec::Constants&, const dec::Gradients&, Last)) {
  return [backward](const SideTensors& rows, const SideTensors& columns, const BandTensors& band,
                    double radius, double t_pos, double t_neg, bool inside, bool bf16, const GradientTensors& g,
                    Last last) {
    return backward(patches(rows, columns, band), {radius, t_pos, t_neg, inside, bf16},
                    {g[0], g[1], g[2], g[3]}, last);
  };
}

using NearTensors = std::array<Tensor, 7>;  // z, p, x, h_scale, sketch, F_z, F_h
using RowTensors = std::array<Tensor, 3>;   // column_of_row, first, last

dec::Near near(const NearTensors& x, const RowTensors& rows, double radius, double reach, double inverse_t) {
  return {x[0], x[1], x[2], x[3], x[4], x[5], x[6], rows[0], rows[1], rows[2], radius, reach, inverse_t};
}

std::tuple<Tensor, Tensor, Tensor> near_sums(const NearTensors& x, const RowTensors& rows, double radius, double reach,
                                             double inverse_t) {
  return dec::near_sums_cpu(near(x, rows, radius, reach, inverse_t));
}

void near_gradients(const NearTensors& x, const RowTensors& rows, double radius, double reach, double inverse_t,
                    const Tensor& alpha, const Tensor& beta, const Tensor& dz) {
  dec::near_gradients_cpu(near(x, rows, radius, reach, inverse_t), alpha, beta, dz);
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  using release_gil = pybind11::call_guard<pybind11::gil_scoped_release>;
  module.def("prepare_cpu", &dec::prepare_cpu, release_gil());
  module.def("restore_cpu", &dec::restore_cpu, release_gil());
  module.def("sort_cpu", &dec::sort_cpu, release_gil());
  module.def("unsort_cpu", &dec::unsort_cpu, release_gil());
  module.def("project_cpu", &dec::project_cpu, release_gil());
  module.def("to_images_cpu", &dec::to_images_cpu, release_gil());
  module.def("near_sums_cpu", near_sums, release_gil());
  module.def("near_gradients_cpu", near_gradients, release_gil());
  module.def("forward_cpu", entry(dec::forward_cpu), release_gil());
  module.def("backward_cpu", entry(dec::backward_cpu), release_gil());
#ifdef DEC_WITH_CUDA
  module.def("forward_cuda", entry(dec::forward_cuda), release_gil());
  module.def("backward_cuda", entry(dec::backward_cuda), release_gil());
#endif
}
