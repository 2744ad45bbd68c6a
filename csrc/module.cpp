// The bindings: prepared rows in, sums or row gradients out. The arguments were checked in Python.
#include <torch/extension.h>

#include "walk.h"

namespace {

template <typename Result, typename... Extra>
auto entry(Result (*function)(const dec::Rows&, const dec::Constants&, Extra...)) {
  return [function](const at::Tensor& z, const at::Tensor& p, const at::Tensor& p_scale, const at::Tensor& first,
                    const at::Tensor& last, double radius, double t_pos, double t_neg, bool inside, bool bf16,
                    Extra... extra) {
    return function({z, p, p_scale, first, last}, {radius, t_pos, t_neg, inside, bf16}, extra...);
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
