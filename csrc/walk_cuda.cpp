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

constexpr std::int64_t kTile = 2048;  // two float32 tiles are 32 MiB

template <typename element, typename scalar>
class Walk {
 public:
  Walk(const Rows& rows, const Constants& constants, std::uintptr_t stream)
      : rows_(rows),
        constants_(constants),
        stream_(reinterpret_cast<void*>(stream)),
        groups_(rows.z.size(0)),
        m_(rows.z.size(1)),
        tile_(std::min(kTile, m_)),
        stack_(std::clamp<std::int64_t>(kTile * kTile / (tile_ * tile_), 1, groups_)),
        z_(rows.z.to(kDtype<element>)),
        p_(rows.p.to(kDtype<element>)),
        s_(at::empty({stack_ * tile_ * tile_}, z_.options())),
        x_(at::empty_like(s_)) {}

  void forward(const Tensor& qpos, const Tensor& qneg) {
    each_tile([&](const Place& at) {
      const auto tile = similarities(at, p_, z_);
      add_sums_cuda(tile, qpos.data_ptr<scalar>(), qneg.data_ptr<scalar>(), stream_);
    });
  }

  void backward(const Tensor& alpha, const Tensor& beta, const Tensor& dz) {
    each_tile([&](const Place& at) {
      const auto tile = similarities(at, z_, p_);
      make_weights_cuda(tile, alpha.data_ptr<scalar>(), beta.data_ptr<scalar>(), stream_);
      Tensor target = block(dz, at, at.row);
      accumulate(target, stack(s_, at), block(z_, at, at.column));
      accumulate(target, stack(x_, at), block(p_, at, at.column));
    });
  }

 private:
  struct Place {
    std::int64_t group, row, column;
  };

  template <typename Body>
  void each_tile(const Body& body) const {
    for (std::int64_t group = 0; group < groups_; group += stack_) {
      for (std::int64_t row = 0; row < m_; row += tile_) {
        for (std::int64_t column = 0; column < m_; column += tile_) body(Place{group, row, column});
      }
    }
  }

  // s = z_I z_J^T and x = left_I right_J^T.
  CudaTile<element, scalar> similarities(const Place& at, const Tensor& left, const Tensor& right) const {
    Tensor s = stack(s_, at), x = stack(x_, at);
    at::bmm_out(s, block(z_, at, at.row), block(z_, at, at.column).transpose(1, 2));
    at::bmm_out(x, block(left, at, at.row), block(right, at, at.column).transpose(1, 2));
    return {s.size(0),
            s.size(1),
            s.size(2),
            at.group,
            at.row,
            at.column,
            m_,
            rows_.p.size(2),
            static_cast<element*>(s.data_ptr()),
            static_cast<element*>(x.data_ptr()),
            rows_.p.template const_data_ptr<scalar>(),
            rows_.p_scale.template const_data_ptr<scalar>(),
            rows_.first.template const_data_ptr<std::int64_t>(),
            rows_.last.template const_data_ptr<std::int64_t>(),
            constants_.radius,
            constants_.temperature<scalar>()};
  }

  static void accumulate(Tensor& target, const Tensor& weights, const Tensor& operand) {
    if constexpr (std::is_same_v<element, scalar>) {
      target.baddbmm_(weights, operand);
    } else {
      target.add_(at::bmm(weights, operand));
    }
  }

  Tensor block(const Tensor& x, const Place& at, std::int64_t start) const {
    return x.narrow(0, at.group, std::min(stack_, groups_ - at.group)).narrow(1, start, std::min(tile_, m_ - start));
  }

  Tensor stack(const Tensor& buffer, const Place& at) const {
    const std::int64_t groups = std::min(stack_, groups_ - at.group);
    const std::int64_t rows = std::min(tile_, m_ - at.row), columns = std::min(tile_, m_ - at.column);
    return buffer.narrow(0, 0, groups * rows * columns).view({groups, rows, columns});
  }

  const Rows& rows_;
  const Constants& constants_;
  void* const stream_;
  const std::int64_t groups_, m_, tile_, stack_;
  const Tensor z_, p_, s_, x_;
};

}  // namespace

std::tuple<Tensor, Tensor> forward_cuda(const Rows& rows, const Constants& constants, std::uintptr_t stream) {
  return walk_forward<Walk>(rows, constants, stream);
}

Tensor backward_cuda(const Rows& rows, const Constants& constants, const Tensor& alpha, const Tensor& beta,
                     std::uintptr_t stream) {
  return walk_backward<Walk>(rows, constants, alpha, beta, stream);
}

}  // namespace dec
