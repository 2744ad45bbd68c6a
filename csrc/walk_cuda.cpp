#include <algorithm>
#include <type_traits>

#include "epilogue_cuda.h"
#include "walk.h"

// The walk over the tiles on a CUDA device: cuBLAS products into a stack of tiles that stays in the L2 cache, and one
// epilogue over it. One-sided, six products of n * n * D: every row is owned by one block of threads, so there are no
// atomics and the bits are the same every time. Nothing here depends on the data, so a CUDA graph can capture it.
namespace dec {
namespace {

using at::Tensor;

#ifndef DEC_CUDA_TILE
#define DEC_CUDA_TILE 2048  // two float32 tiles are 32 MiB; the tests make do with fewer rows
#endif
constexpr std::int64_t kTile = DEC_CUDA_TILE;
constexpr std::int64_t kMaxStack = 65535;  // groups in one launch, and in one batched product

// `element` is what the products take, `scalar` what all else is computed in, the results of the products included.
template <typename element, typename scalar>
class Walk {
 public:
  Walk(const Patches& patches, const Constants& constants, std::uintptr_t stream)
      : patches_(patches),
        constants_(constants),
        stream_(reinterpret_cast<void*>(stream)),
        groups_(patches.columns.z.size(0)),
        r_(patches.rows.z.size(1)),
        m_(patches.columns.z.size(1)),
        tile_(std::min(kTile, m_)),
        stack_(std::min({kTile * kTile / (tile_ * tile_), kMaxStack, groups_})),
        z_(patches.columns.z.to(kDtype<element>)),
        hr_(patches.columns.x.to(kDtype<element>)),
        row_z_(patches.symmetric() ? z_ : patches.rows.z.to(kDtype<element>)),
        row_hr_(patches.symmetric() ? hr_ : patches.rows.x.to(kDtype<element>)),
        s_(at::empty({stack_ * tile_ * tile_}, patches.rows.z.options())),
        x_(at::empty_like(s_)) {}

  void forward(const Tensor& qpos, const Tensor& qneg) {
    each_tile([&](const Place& at) {
      const auto tile = similarities(at, row_hr_, z_);
      add_sums_cuda(tile, qpos.data_ptr<scalar>(), qneg.data_ptr<scalar>(), stream_);
    });
  }

  void backward(const Gradients& gradients, const Tensor& dz) {
    const CudaGradients<scalar> pointers{
        gradients.row_alpha.const_data_ptr<scalar>(), gradients.row_beta.const_data_ptr<scalar>(),
        gradients.alpha.const_data_ptr<scalar>(), gradients.beta.const_data_ptr<scalar>()};
    each_tile([&](const Place& at) {
      const auto tile = similarities(at, row_z_, hr_);
      make_weights_cuda<element>(tile, pointers, stream_);
      Tensor target = block(dz, at, at.row);
      accumulate(target, weights(s_, at), block(z_, at, at.column));
      accumulate(target, weights(x_, at), block(hr_, at, at.column));
    });
  }

 private:
  struct Place {
    std::int64_t group, row, column;
  };

  template <typename Body>
  void each_tile(const Body& body) const {
    for (std::int64_t group = 0; group < groups_; group += stack_) {
      for (std::int64_t row = 0; row < r_; row += tile_) {
        for (std::int64_t column = 0; column < m_; column += tile_) body(Place{group, row, column});
      }
    }
  }

  // s = z_I z_J^T and x = left_I right_J^T, with rows to the left and columns to the right.
  CudaTile<scalar> similarities(const Place& at, const Tensor& left, const Tensor& right) const {
    Tensor s = stack(s_, at), x = stack(x_, at);
    multiply(s, block(row_z_, at, at.row), block(z_, at, at.column));
    multiply(x, block(left, at, at.row), block(right, at, at.column));
    return {s.size(0),
            s.size(1),
            s.size(2),
            at.group,
            at.row,
            at.column,
            r_,
            m_,
            patches_.columns.p.size(2),
            s.data_ptr<scalar>(),
            x.data_ptr<scalar>(),
            patches_.rows.p.template const_data_ptr<scalar>(),
            patches_.rows.h_scale.template const_data_ptr<scalar>(),
            patches_.columns.p.template const_data_ptr<scalar>(),
            patches_.columns.h_scale.template const_data_ptr<scalar>(),
            patches_.first.template const_data_ptr<std::int64_t>(),
            patches_.last.template const_data_ptr<std::int64_t>(),
            patches_.rows.sketch.template const_data_ptr<scalar>(),
            patches_.columns.sketch.template const_data_ptr<scalar>(),
            patches_.reach.template const_data_ptr<scalar>(),
            constants_.radius,
            constants_.temperature<scalar>()};
  }

  // out = left right^T. Rounded to bf16, a similarity near 1 would be off by more than its rounded operands make it.
  static void multiply(Tensor& out, const Tensor& left, const Tensor& right) {
    if constexpr (std::is_same_v<element, scalar>) {
      at::bmm_out(out, left, right.transpose(1, 2));
    } else {
      at::bmm_out(out, left, right.transpose(1, 2), kDtype<scalar>);
    }
  }

  static void accumulate(Tensor& target, const Tensor& weights, const Tensor& operand) {
    if constexpr (std::is_same_v<element, scalar>) {
      target.baddbmm_(weights, operand);
    } else {
      target.add_(at::bmm(weights, operand, kDtype<scalar>));
    }
  }

  Tensor block(const Tensor& x, const Place& at, std::int64_t start) const {
    return x.narrow(0, at.group, std::min(stack_, groups_ - at.group))
        .narrow(1, start, std::min(tile_, x.size(1) - start));
  }

  Tensor weights(const Tensor& buffer, const Place& at) const {
    const Tensor similarities = stack(buffer, at);
    return similarities.view(kDtype<element>).narrow(2, 0, similarities.size(2));
  }

  Tensor stack(const Tensor& buffer, const Place& at) const {
    const std::int64_t groups = std::min(stack_, groups_ - at.group);
    const std::int64_t rows = std::min(tile_, r_ - at.row), columns = std::min(tile_, m_ - at.column);
    return buffer.narrow(0, 0, groups * rows * columns).view({groups, rows, columns});
  }

  const Patches& patches_;
  const Constants& constants_;
  void* const stream_;
  const std::int64_t groups_, r_, m_, tile_, stack_;
  const Tensor z_, hr_, row_z_, row_hr_, s_, x_;
};

}  // namespace

std::tuple<Tensor, Tensor> forward_cuda(const Patches& patches, const Constants& constants, std::uintptr_t stream) {
  return walk_forward<Walk>(patches, constants, stream);
}

Tensor backward_cuda(const Patches& patches, const Constants& constants, const Gradients& gradients,
                     std::uintptr_t stream) {
  return walk_backward<Walk>(patches, constants, gradients, stream);
}

}  // namespace dec
