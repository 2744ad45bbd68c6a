#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <type_traits>
#include <vector>

#include "epilogue_cpu.h"
#include "walk.h"

// The walk over the tiles.
//
// Where all columns are rows, S and the mask are symmetric, so the tile of the blocks (I, J) serves both: five products
// of n * n * D for forward and backward instead of six. It then writes into the rows of I and of J. Two threads must not
// meet there, and sums must not depend on who comes first, so the pairs of blocks are played like a round-robin
// tournament: in a round every block appears once at most, and plays its games in the order of the rounds. Where other
// processes have columns too, each block of rows walks over all of them. No atomics on results, the same bits every time.
//
// Of few rows, the forward leaves S, A and B of every pair of blocks for the backward, which then computes four products
// of a pair instead of seven. What is kept grows with the square of the number of rows, so that is for few rows alone.
//
// Threads take their work from a counter, so that one which another process keeps from running holds up little: the
// others wait for it only where they need what it is about to write, and asleep, so that it can have their core.
namespace dec {
namespace {

using at::Tensor;

constexpr std::int64_t kTileBytes = 1024;  // of a row of a tile; three tiles of 256 rows of float32 stay in L2
constexpr std::int64_t kMinTile = 64;      // below, and with rows of fewer bytes, the products are much slower
constexpr std::int64_t kMinTileBytes = 256;

constexpr int kSpins = 2000;  // some 20 us: a small part of a tile's products

struct Pair {
  std::int64_t group, i, j;
};

std::int64_t least_tile(std::int64_t element_size) { return std::max(kMinTile, kMinTileBytes / element_size); }

std::int64_t tile_size(std::int64_t groups, std::int64_t rows, std::int64_t element_size) {
  // Smaller tiles where a round would otherwise leave threads without work.
  const std::int64_t least = least_tile(element_size);
  std::int64_t tile = kTileBytes / element_size;
  while (tile > least && groups * (rows / tile) < 2 * at::get_num_threads()) tile /= 2;
  return tile;
}

// The pairs of blocks of each group, in rounds: first the blocks with themselves, then by the circle method (one block
// stays, the others move). Where their number is odd, a phantom takes part, and its opponent pauses.
class Tournament {
 public:
  Tournament(std::int64_t groups, std::int64_t blocks)
      : groups_(groups), blocks_(blocks), players_(blocks + blocks % 2), played_(groups * blocks) {}

  // Plays games until all are taken; called by every thread. A game is taken after all those before it, so whoever
  // waits, waits for a thread that runs: that is why a game that throws counts as played.
  template <typename Play>
  void take_part(const Play& play) {
    const std::int64_t in_first_round = groups_ * blocks_, in_others = groups_ * (players_ / 2);
    const std::int64_t games = in_first_round + in_others * (blocks_ > 1 ? players_ - 1 : 0);
    for (std::int64_t game; (game = next_.fetch_add(1)) < games;) {
      int round = 0;
      Pair pair{game / blocks_, game % blocks_, game % blocks_};
      if (game >= in_first_round) {
        round = static_cast<int>(1 + (game - in_first_round) / in_others);
        const std::int64_t k = (game - in_first_round) % in_others;
        pair = seated({k / (players_ / 2), k % (players_ / 2), players_ - 1 - k % (players_ / 2)}, round);
      }
      await(pair.group, pair.i, round);
      await(pair.group, pair.j, round);
      try {
        if (pair.j < blocks_) play(pair);
      } catch (...) {
        next_ = games;
        finish(pair, round);
        throw;
      }
      finish(pair, round);
    }
  }

 private:
  // Who sits at the two seats of a pair in that round, the smaller one first.
  Pair seated(const Pair& seats, std::int64_t round) const {
    const auto at = [&](std::int64_t seat) {
      return seat == 0 ? players_ - 1 : (round - 1 + seat) % (players_ - 1);
    };
    return {seats.group, std::min(at(seats.i), at(seats.j)), std::max(at(seats.i), at(seats.j))};
  }

  void await(std::int64_t group, std::int64_t block, int round) {
    if (block == blocks_) return;
    std::atomic<int>& played = played_[group * blocks_ + block];
    for (int spins = 0; spins < kSpins; ++spins) {
      if (played == round) return;
      pause();
    }
    for (int now; (now = played) != round;) played.wait(now);
  }

  void finish(const Pair& pair, int round) {
    finish(pair.group, pair.i, round);
    // Not twice: after the first time the other threads may go on with the block, and count more rounds.
    if (pair.j != pair.i) finish(pair.group, pair.j, round);
  }

  void finish(std::int64_t group, std::int64_t block, int round) {
    if (block == blocks_) return;
    std::atomic<int>& played = played_[group * blocks_ + block];
    played = round + 1;
    played.notify_all();
  }

  static void pause() {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
  }

  const std::int64_t groups_, blocks_, players_;
  std::vector<std::atomic<int>> played_;  // by each block of each group: how many rounds
  std::atomic<std::int64_t> next_ = 0;
};

// `element` is what the products take and give, `scalar` what all else is computed in.
template <typename element, typename scalar>
class Walk {
 public:
  Walk(const Patches& patches, const Constants& constants, const Tensor& products)
      : patches_(patches),
        rows_(patches.rows),
        columns_(patches.columns),
        symmetric_(patches.symmetric()),
        radius_(constants.radius),
        groups_(rows_.z.size(0)),
        r_(rows_.z.size(1)),
        m_(columns_.z.size(1)),
        kept_(products.numel() ? static_cast<element*>(products.data_ptr()) : nullptr),
        // The backward must find the tiles that are kept, whatever its number of threads.
        tile_(kept_ ? least_tile(sizeof(element)) : tile_size(groups_, r_, sizeof(element))),
        temperature_(constants.temperature<scalar>()),
        sketch_(columns_.sketch.transpose(1, 2).contiguous()),
        squared_reach_(squared_reach(*patches.reach.const_data_ptr<scalar>())) {
    const auto of_element = static_cast<std::int64_t>(sizeof(element));
    TORCH_INTERNAL_ASSERT(!kept_ || products.numel() == groups_ * kept_of_group() * of_element);
  }

  void forward(const Tensor& qpos, const Tensor& qneg) {
    each_pair([&](const Pair& pair, Workspace& work) {
      const bool both = serves_both(pair);
      const auto tile = similarities(pair, operands(pair, work), work, /*a=*/true, /*b=*/both);
      if (kept_) keep(pair, tile);
      add_sums(tile, at_block(qpos, pair.group, pair.i), at_block(qneg, pair.group, pair.i),
               both ? at_block(qpos, pair.group, pair.j) : nullptr, both ? at_block(qneg, pair.group, pair.j) : nullptr);
    });
  }

  void backward(const Gradients& gradients, const Tensor& dz) {
    each_pair([&](const Pair& pair, Workspace& work) {
      const bool both = serves_both(pair);
      const Operands of = operands(pair, work);
      const auto tile = similarities(pair, of, work, /*a=*/both, /*b=*/true, /*known=*/kept_);
      make_weights(tile, at_block(gradients.row_alpha, pair.group, pair.i),
                   at_block(gradients.row_beta, pair.group, pair.i), at_block(gradients.alpha, pair.group, pair.j),
                   at_block(gradients.beta, pair.group, pair.j));
      const auto weights = [&](const Tensor& buffer) { return matrix(buffer, tile.rows, tile.columns); };
      add_product(dz, pair.group, pair.i, weights(work.s), of.z_j, work);
      add_product(dz, pair.group, pair.i, weights(work.b), of.x_j, work);
      if (both) {
        add_product(dz, pair.group, pair.j, weights(work.s).t(), of.z_i, work);
        add_product(dz, pair.group, pair.j, weights(work.a).t(), of.x_i, work);
      }
    });
  }

 private:
  static constexpr bool kRounds = !std::is_same_v<element, scalar>;

  // What one thread works in; `product` and `rounded` only where operands are rounded.
  struct Workspace {
    Tensor s, a, b, product;
    std::array<Tensor, 4> rounded;
    std::vector<Flag<scalar>> mask;

    Workspace(std::int64_t tile, std::int64_t dim, const at::TensorOptions& options)
        : s(at::empty({tile * tile}, options)),
          a(at::empty({tile * tile}, options)),
          b(at::empty({tile * tile}, options)),
          mask(tile) {
      if constexpr (kRounds) {
        for (Tensor* buffer : {&product, &rounded[0], &rounded[1], &rounded[2], &rounded[3]}) {
          *buffer = at::empty({tile * dim}, options);
        }
      }
    }
  };

  // The blocks of rows of a pair, as the products take them.
  struct Operands {
    Tensor z_i, z_j, x_i, x_j;
  };

  bool serves_both(const Pair& pair) const { return symmetric_ && pair.i != pair.j; }

  template <typename Body>
  void each_pair(const Body& body) const {
    const std::int64_t blocks = (r_ + tile_ - 1) / tile_;
    Tournament tournament(groups_, blocks);
    std::atomic<std::int64_t> next = 0;
    at::parallel_for(0, std::min<std::int64_t>(at::get_num_threads(), groups_ * blocks), 1, [&](auto, auto) {
      at::AutoDispatchBelowADInplaceOrView below_autograd;  // a setting of the thread
      Workspace work(tile_, rows_.z.size(2), rows_.z.options().dtype(kDtype<element>));
      if (symmetric_) {
        tournament.take_part([&](const Pair& pair) { body(pair, work); });
      } else {
        for (std::int64_t k; (k = next.fetch_add(1)) < groups_ * blocks;) {
          for (std::int64_t j = 0; j * tile_ < m_; ++j) body({k / blocks, k % blocks, j}, work);
        }
      }
    });
  }

  // bf16 is rounded to anew for each pair: that costs little beside the products, and copies of all rows would be kept.
  Operands operands(const Pair& pair, const Workspace& work) const {
    const auto operand = [&](const Tensor& x, std::int64_t index, const Tensor& buffer) {
      Tensor rows = block(x, pair.group, index);
      if constexpr (kRounds) {
        Tensor rounded = matrix(buffer, rows.size(0), rows.size(1));
        round(elements(rounded), at_block(x, pair.group, index), rounded.numel());
        return rounded;
      } else {
        return rows;
      }
    };
    return {operand(rows_.z, pair.i, work.rounded[0]), operand(columns_.z, pair.j, work.rounded[1]),
            operand(rows_.x, pair.i, work.rounded[2]), operand(columns_.x, pair.j, work.rounded[3])};
  }

  // What the forward has kept is `known`: it is copied, not computed again.
  Tile<element, scalar> similarities(const Pair& pair, const Operands& of, Workspace& work, bool a, bool b,
                                     bool known = false) const {
    const std::int64_t g = pair.group, rows = block_size(pair.i, r_), columns = block_size(pair.j, m_);
    const auto product = [&](const Tensor& out, const Tensor& left, const Tensor& right, const element* there) {
      Tensor tile = matrix(out, rows, columns);
      if (there) std::copy_n(there, tile.numel(), elements(tile));
      else at::mm_out(tile, left, right.t());
    };
    product(work.s, of.z_i, of.z_j, known ? kept(pair, kS) : nullptr);
    if (a) product(work.a, of.x_i, of.z_j, known ? kept(pair, kA) : nullptr);
    if (b) product(work.b, of.z_i, of.x_j, known && serves_both(pair) ? kept(pair, kB) : nullptr);
    return {rows,
            columns,
            elements(work.s),
            a ? elements(work.a) : nullptr,
            b ? elements(work.b) : nullptr,
            at_block(rows_.h_scale, g, pair.i),
            at_block(columns_.h_scale, g, pair.j),
            band(pair),
            work.mask.data(),
            temperature_};
  }

  enum Product { kS, kA, kB };

  // Where a product of a pair of blocks i <= j is kept. There are no gaps: of each j come the pairs with i = 0, ..., j - 1,
  // three tiles each, and then S and A of the diagonal. All blocks but the last one are whole.
  element* kept(const Pair& pair, Product product) const {
    const std::int64_t of_product = block_size(pair.i, m_) * block_size(pair.j, m_);
    return kept_ + pair.group * kept_of_group() + kept_before(pair.i, pair.j) + product * of_product;
  }

  std::int64_t kept_before(std::int64_t i, std::int64_t j) const {
    return tile_ * tile_ * (3 * j * (j - 1) / 2 + 2 * j) + 3 * i * tile_ * block_size(j, m_);
  }

  std::int64_t kept_of_group() const {
    const std::int64_t last = (m_ - 1) / tile_, rest = block_size(last, m_);
    return kept_before(last, last) + 2 * rest * rest;
  }

  void keep(const Pair& pair, const Tile<element, scalar>& tile) const {
    const std::int64_t count = tile.rows * tile.columns;
    std::copy_n(tile.s, count, kept(pair, kS));
    std::copy_n(tile.a, count, kept(pair, kA));
    if (tile.b) std::copy_n(tile.b, count, kept(pair, kB));
  }

  Band<scalar> band(const Pair& pair) const {
    const std::int64_t row = pair.group * r_ + pair.i * tile_, start = pair.j * tile_;
    const auto* sketch = sketch_.template const_data_ptr<scalar>() + pair.group * 4 * m_ + start;
    return {rows_.p.size(2),
            at_block(rows_.p, pair.group, pair.i),
            at_block(columns_.p, pair.group, pair.j),
            at_block(rows_.sketch, pair.group, pair.i),
            {sketch, sketch + m_, sketch + 2 * m_, sketch + 3 * m_},
            patches_.first.template const_data_ptr<std::int64_t>() + row,
            patches_.last.template const_data_ptr<std::int64_t>() + row,
            start,
            radius_,
            squared_reach_};
  }

  // dz of a block += weights * operand.
  void add_product(const Tensor& dz, std::int64_t group, std::int64_t index, const Tensor& weights,
                   const Tensor& operand, const Workspace& work) const {
    Tensor rows = block(dz, group, index);
    if constexpr (kRounds) {
      Tensor product = matrix(work.product, rows.size(0), rows.size(1));
      at::mm_out(product, weights, operand);
      accumulate(at_block(dz, group, index), elements(product), product.numel());
    } else {
      rows.addmm_(weights, operand);
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
  const std::int64_t groups_, r_, m_;
  element* const kept_;  // null where nothing is
  const std::int64_t tile_;
  const Temperature<scalar> temperature_;
  const Tensor sketch_;  // of the columns, (G, 4, m)
  const scalar squared_reach_;
};

}  // namespace

std::tuple<Tensor, Tensor> forward_cpu(const Patches& patches, const Constants& constants, const Tensor& products) {
  return walk_forward<Walk>(patches, constants, products);
}

Tensor backward_cpu(const Patches& patches, const Constants& constants, const Gradients& gradients,
                    const Tensor& products) {
  return walk_backward<Walk>(patches, constants, gradients, products);
}

}  // namespace dec
