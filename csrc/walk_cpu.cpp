#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <type_traits>
#include <vector>

#include "epilogue_cpu.h"
#include "walk.h"

// The walk over the tiles.
//
// Where all columns are rows, S and the mask are symmetric, so the tile of the blocks (I, J) serves both: five products
// of n * n * D for forward and backward instead of six. It then writes into the rows of I and of J. Two threads must not
// meet there, and sums must not depend on who comes first, so the pairs of blocks are played like a round-robin
// tournament: in a round every block appears once at most, rounds follow each other. Where other processes have columns
// too, each block of rows walks over all of them. No atomics, the same bits every time.
namespace dec {
namespace {

using at::Tensor;

constexpr std::int64_t kTileBytes = 1024;  // of a row of a tile; three tiles of 256 rows of float32 stay in L2
constexpr std::int64_t kMinTile = 64;

struct Pair {
  std::int64_t group, i, j;
};

std::int64_t tile_size(std::int64_t groups, std::int64_t rows, std::int64_t element_size) {
  // Smaller tiles where a round would otherwise leave threads without work.
  std::int64_t tile = kTileBytes / element_size;
  while (tile > kMinTile && groups * (rows / tile) < 2 * at::get_num_threads()) tile /= 2;
  return tile;
}

// The rounds: first the blocks with themselves, then the pairs by the circle method (one block stays, the others move).
std::vector<std::vector<Pair>> tournament(std::int64_t groups, std::int64_t blocks) {
  std::vector<std::vector<Pair>> rounds(1);
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t i = 0; i < blocks; ++i) rounds[0].push_back({g, i, i});
  }
  const std::int64_t players = blocks + blocks % 2;  // an odd one pauses
  for (std::int64_t round = 0; round + 1 < players; ++round) {
    std::vector<Pair> pairs;
    for (std::int64_t g = 0; g < groups; ++g) {
      for (std::int64_t k = 0; k < players / 2; ++k) {
        const auto seat = [&](std::int64_t s) { return s == 0 ? players - 1 : (round + s) % (players - 1); };
        const std::int64_t x = seat(k), y = seat(players - 1 - k);
        if (std::max(x, y) < blocks) pairs.push_back({g, std::min(x, y), std::max(x, y)});
      }
    }
    rounds.push_back(std::move(pairs));
  }
  return rounds;
}

// `element` is what the products take and give, `scalar` what all else is computed in.
template <typename element, typename scalar>
class Walk {
 public:
  Walk(const Patches& patches, const Constants& constants)
      : patches_(patches),
        rows_(patches.rows),
        columns_(patches.columns),
        symmetric_(patches.symmetric()),
        radius_(constants.radius),
        groups_(rows_.z.size(0)),
        r_(rows_.z.size(1)),
        m_(columns_.z.size(1)),
        tile_(tile_size(groups_, r_, sizeof(element))),
        temperature_(constants.temperature<scalar>()) {
    for (int thread = 0; thread < at::get_num_threads(); ++thread) {
      workspaces_.emplace_back(tile_, rows_.z.size(2), rows_.z.options().dtype(kDtype<element>));
    }
  }

  void forward(const Tensor& qpos, const Tensor& qneg) {
    each_pair([&](const Pair& pair, Workspace& work) {
      const bool both = serves_both(pair);
      const auto tile = similarities(pair, operands(pair, work), work, /*a=*/true, /*b=*/both);
      add_sums(tile, at_block(qpos, pair.group, pair.i), at_block(qneg, pair.group, pair.i),
               both ? at_block(qpos, pair.group, pair.j) : nullptr, both ? at_block(qneg, pair.group, pair.j) : nullptr);
    });
  }

  void backward(const Gradients& gradients, const Tensor& dz) {
    each_pair([&](const Pair& pair, Workspace& work) {
      const bool both = serves_both(pair);
      const Operands x = operands(pair, work);
      const auto tile = similarities(pair, x, work, /*a=*/both, /*b=*/true);
      make_weights(tile, at_block(gradients.row_alpha, pair.group, pair.i),
                   at_block(gradients.row_beta, pair.group, pair.i), at_block(gradients.alpha, pair.group, pair.j),
                   at_block(gradients.beta, pair.group, pair.j));
      const auto weights = [&](const Tensor& buffer) { return matrix(buffer, tile.rows, tile.columns); };
      add_product(dz, pair.group, pair.i, weights(work.s), x.z_j, work);
      add_product(dz, pair.group, pair.i, weights(work.b), x.p_j, work);
      if (both) {
        add_product(dz, pair.group, pair.j, weights(work.s).t(), x.z_i, work);
        add_product(dz, pair.group, pair.j, weights(work.a).t(), x.p_i, work);
      }
    });
  }

 private:
  // What one thread works in.
  struct Workspace {
    Tensor s, a, b, product;
    std::array<Tensor, 4> rounded;
    std::vector<std::uint8_t> mask, row_has_positives;

    Workspace(std::int64_t tile, std::int64_t dim, const at::TensorOptions& options)
        : s(at::empty({tile * tile}, options)),
          a(at::empty({tile * tile}, options)),
          b(at::empty({tile * tile}, options)),
          product(at::empty({tile * dim}, options)),
          rounded({at::empty_like(product), at::empty_like(product), at::empty_like(product), at::empty_like(product)}),
          mask(tile * tile),
          row_has_positives(tile) {}
  };

  // The blocks of rows of a pair, as the products take them.
  struct Operands {
    Tensor z_i, z_j, p_i, p_j;
  };

  bool serves_both(const Pair& pair) const { return symmetric_ && pair.i != pair.j; }

  template <typename Body>
  void each_pair(const Body& body) {
    if (!symmetric_) {
      const std::int64_t blocks = (r_ + tile_ - 1) / tile_;
      at::parallel_for(0, groups_ * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
        at::AutoDispatchBelowADInplaceOrView below_autograd;  // a setting of the thread
        for (std::int64_t k = begin; k < end; ++k) {
          for (std::int64_t j = 0; j * tile_ < m_; ++j) {
            body({k / blocks, k % blocks, j}, workspaces_.at(at::get_thread_num()));
          }
        }
      });
      return;
    }
    for (const auto& round : tournament(groups_, (m_ + tile_ - 1) / tile_)) {
      at::parallel_for(0, static_cast<std::int64_t>(round.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        at::AutoDispatchBelowADInplaceOrView below_autograd;  // a setting of the thread
        for (std::int64_t k = begin; k < end; ++k) body(round[k], workspaces_.at(at::get_thread_num()));
      });
    }
  }

  // bf16 is rounded to anew for each pair: that costs little beside the products, and copies of all rows would be kept.
  Operands operands(const Pair& pair, const Workspace& work) const {
    const auto operand = [&](const Tensor& x, std::int64_t index, const Tensor& buffer) {
      Tensor rows = block(x, pair.group, index);
      if constexpr (!std::is_same_v<element, scalar>) {
        Tensor rounded = matrix(buffer, rows.size(0), rows.size(1));
        round(elements(rounded), at_block(x, pair.group, index), rounded.numel());
        return rounded;
      } else {
        return rows;
      }
    };
    return {operand(rows_.z, pair.i, work.rounded[0]), operand(columns_.z, pair.j, work.rounded[1]),
            operand(rows_.p, pair.i, work.rounded[2]), operand(columns_.p, pair.j, work.rounded[3])};
  }

  Tile<element, scalar> similarities(const Pair& pair, const Operands& x, Workspace& work, bool a, bool b) const {
    const std::int64_t g = pair.group, rows = block_size(pair.i, r_), columns = block_size(pair.j, m_);
    const auto product = [&](const Tensor& out, const Tensor& left, const Tensor& right) {
      Tensor tile = matrix(out, rows, columns);
      at::mm_out(tile, left, right.t());
    };
    product(work.s, x.z_i, x.z_j);
    if (a) product(work.a, x.p_i, x.z_j);
    if (b) product(work.b, x.z_i, x.p_j);
    find_mask(pair, work);
    return {rows,
            columns,
            elements(work.s),
            a ? elements(work.a) : nullptr,
            b ? elements(work.b) : nullptr,
            at_block(rows_.p_scale, g, pair.i),
            at_block(columns_.p_scale, g, pair.j),
            work.mask.data(),
            work.row_has_positives.data(),
            temperature_};
  }

  void find_mask(const Pair& pair, Workspace& work) const {
    const std::int64_t dim = rows_.p.size(2), columns = block_size(pair.j, m_), start = pair.j * tile_;
    const std::int64_t offset = pair.group * r_ + pair.i * tile_;
    const auto* first = patches_.first.template const_data_ptr<std::int64_t>() + offset;
    const auto* last = patches_.last.template const_data_ptr<std::int64_t>() + offset;
    const scalar* p_i = at_block(rows_.p, pair.group, pair.i);
    const scalar* p_j = at_block(columns_.p, pair.group, pair.j);
    for (std::int64_t i = 0; i < block_size(pair.i, r_); ++i) {
      const std::int64_t begin = std::max<std::int64_t>(first[i] - start, 0);
      const std::int64_t end = std::min(last[i] - start, columns);
      work.row_has_positives[i] = 0;
      if (begin >= end) continue;
      std::uint8_t* mask = work.mask.data() + i * columns;
      std::fill(mask, mask + columns, 0);
      work.row_has_positives[i] = find_positives(p_i + i * dim, p_j, dim, begin, end, radius_, mask);
    }
  }

  // dz of a block += weights * operand.
  void add_product(const Tensor& dz, std::int64_t group, std::int64_t index, const Tensor& weights,
                   const Tensor& operand, const Workspace& work) const {
    Tensor rows = block(dz, group, index);
    if constexpr (std::is_same_v<element, scalar>) {
      rows.addmm_(weights, operand);
    } else {
      Tensor product = matrix(work.product, rows.size(0), rows.size(1));
      at::mm_out(product, weights, operand);
      accumulate(at_block(dz, group, index), elements(product), product.numel());
    }
  }

  std::int64_t block_size(std::int64_t index, std::int64_t count) const {
    return std::min(tile_, count - index * tile_);
  }

  Tensor block(const Tensor& x, std::int64_t group, std::int64_t index) const {
    return x.select(0, group).narrow(0, index * tile_, block_size(index, x.size(1)));
  }

  scalar* at_block(const Tensor& x, std::int64_t group, std::int64_t index) const {
    const std::int64_t row_length = x.dim() == 3 ? x.size(2) : 1;
    return x.data_ptr<scalar>() + (group * x.size(1) + index * tile_) * row_length;
  }

  static Tensor matrix(const Tensor& buffer, std::int64_t rows, std::int64_t columns) {
    return buffer.narrow(0, 0, rows * columns).view({rows, columns});
  }

  static element* elements(const Tensor& buffer) { return static_cast<element*>(buffer.data_ptr()); }

  const Patches& patches_;
  const Side &rows_, &columns_;
  const bool symmetric_;
  const double radius_;
  const std::int64_t groups_, r_, m_, tile_;
  const Temperature<scalar> temperature_;
  std::vector<Workspace> workspaces_;
};

}  // namespace

std::tuple<Tensor, Tensor> forward_cpu(const Patches& patches, const Constants& constants) {
  return walk_forward<Walk>(patches, constants);
}

Tensor backward_cpu(const Patches& patches, const Constants& constants, const Gradients& gradients) {
  return walk_backward<Walk>(patches, constants, gradients);
}

}  // namespace dec
