#include "epilogue_cpu.h"

#include <algorithm>

#include "clones.h"
#include "distance.h"

namespace dec {
namespace {

template <bool inside, bool masked, bool both, typename element, typename scalar>
DEC_PAIR void add_sums_of_row(const Tile<element, scalar>& tile, std::int64_t i, scalar& row_pos, scalar& row_neg,
                              scalar* __restrict column_pos, scalar* __restrict column_neg) {
  const std::int64_t offset = i * tile.columns;
  const element* __restrict s = tile.s + offset;
  const element* __restrict a = tile.a + offset;
  const element* __restrict b = both ? tile.b + offset : nullptr;
  const Flag<scalar>* __restrict mask = tile.mask;
  const scalar* __restrict column_scale = tile.column_scale;
  const scalar row_scale = tile.row_scale[i];
  const Temperature<scalar> t = tile.temperature;
  scalar pos = 0, neg = 0;
#pragma omp simd reduction(+ : pos, neg)
  for (std::int64_t j = 0; j < tile.columns; ++j) {
    const bool m = masked && mask[j];
    const scalar exp_s = exp_of<inside>(load(s[j]), m, t);
    const scalar e_row = exp_s + 2 * exp_of<inside>(load(a[j]) * row_scale, m, t);
    neg += m ? 0 : e_row;
    if (masked) pos += m ? e_row : 0;
    if (both) {
      const scalar e_column = exp_s + 2 * exp_of<inside>(load(b[j]) * column_scale[j], m, t);
      column_neg[j] += m ? 0 : e_column;
      if (masked) column_pos[j] += m ? e_column : 0;
    }
  }
  row_pos += pos;
  row_neg += neg;
}

template <bool inside, bool both, typename element, typename scalar>
DEC_PAIR void add_sums_of_tile(const Tile<element, scalar>& tile, scalar* row_pos, scalar* row_neg, scalar* column_pos,
                               scalar* column_neg) {
  for (std::int64_t i = 0; i < tile.rows; ++i) {
    if (find_positives(tile.band, i, tile.columns, tile.mask)) {
      add_sums_of_row<inside, true, both>(tile, i, row_pos[i], row_neg[i], column_pos, column_neg);
    } else {
      add_sums_of_row<inside, false, both>(tile, i, row_pos[i], row_neg[i], column_pos, column_neg);
    }
  }
}

template <bool inside, bool masked, bool both, typename element, typename scalar>
DEC_PAIR void make_weights_of_row(const Tile<element, scalar>& tile, std::int64_t i, scalar row_alpha, scalar row_beta,
                                  const scalar* __restrict column_alpha, const scalar* __restrict column_beta) {
  const std::int64_t offset = i * tile.columns;
  element* __restrict s = tile.s + offset;
  element* __restrict a = both ? tile.a + offset : nullptr;
  element* __restrict b = tile.b + offset;
  const Flag<scalar>* __restrict mask = tile.mask;
  const scalar* __restrict column_scale = tile.column_scale;
  const scalar row_scale = tile.row_scale[i];
  const Temperature<scalar> t = tile.temperature;
#pragma omp simd
  for (std::int64_t j = 0; j < tile.columns; ++j) {
    const bool m = masked && mask[j];
    const scalar w_row = m ? row_alpha : row_beta;
    const scalar w_column = m ? column_alpha[j] : column_beta[j];
    store(s[j], (w_row + w_column) * exp_of<inside>(load(s[j]), m, t));
    const scalar column = column_scale[j];
    store(b[j], 2 * w_column * column * exp_of<inside>(load(b[j]) * column, m, t));
    if (both) store(a[j], 2 * w_row * row_scale * exp_of<inside>(load(a[j]) * row_scale, m, t));
  }
}

template <bool inside, bool both, typename element, typename scalar>
DEC_PAIR void make_weights_of_tile(const Tile<element, scalar>& tile, const scalar* row_alpha, const scalar* row_beta,
                                   const scalar* column_alpha, const scalar* column_beta) {
  for (std::int64_t i = 0; i < tile.rows; ++i) {
    if (find_positives(tile.band, i, tile.columns, tile.mask)) {
      make_weights_of_row<inside, true, both>(tile, i, row_alpha[i], row_beta[i], column_alpha, column_beta);
    } else {
      make_weights_of_row<inside, false, both>(tile, i, row_alpha[i], row_beta[i], column_alpha, column_beta);
    }
  }
}

constexpr std::int64_t kStep = 32;  // columns whose sketches are compared at a time

template <typename scalar>
DEC_PAIR bool find_positives_of_row(const Band<scalar>& band, std::int64_t i, std::int64_t columns,
                                    Flag<scalar>* __restrict mask) {
  const std::int64_t begin = std::max<std::int64_t>(band.first[i] - band.start, 0);
  const std::int64_t end = std::min(band.last[i] - band.start, columns);
  const scalar *x = band.row_sketch + 4 * i, *const *y = band.column_sketch;
  const scalar *__restrict y_0 = y[0], *__restrict y_1 = y[1], *__restrict y_2 = y[2], *__restrict y_3 = y[3];
  const scalar x_0 = x[0], x_1 = x[1], x_2 = x[2], x_3 = x[3];
  bool any = false;
  for (std::int64_t start = begin; start < end; start += kStep) {
    const std::int64_t stop = std::min(start + kStep, end);
    Flag<scalar> near[kStep], some = 0;
#pragma omp simd reduction(| : some)
    for (std::int64_t j = start; j < stop; ++j) {
      near[j - start] = within_reach(x_0 - y_0[j], x_1 - y_1[j], x_2 - y_2[j], x_3 - y_3[j], band.squared_reach);
      some |= near[j - start];
    }
    if (!some) continue;
    for (std::int64_t j = start; j < stop; ++j) {
      if (!near[j - start]) continue;
      if (!positive(band.row_p + i * band.dim, band.column_p + j * band.dim, band.dim, band.radius)) continue;
      if (!any) std::fill(mask, mask + columns, 0);
      any = true;
      mask[j] = 1;
    }
  }
  return any;
}

}  // namespace

// target_clones does not apply to templates, so each instance is a function of its own that inlines them.
#define DEC_INSTANCE(element, scalar)                                                                                  \
  template <>                                                                                                          \
  DEC_CLONES void add_sums(const Tile<element, scalar>& tile, scalar* row_pos, scalar* row_neg, scalar* column_pos,    \
                           scalar* column_neg) {                                                                       \
    if (tile.temperature.inside) {                                                                                     \
      if (tile.b) add_sums_of_tile<true, true>(tile, row_pos, row_neg, column_pos, column_neg);                        \
      else add_sums_of_tile<true, false>(tile, row_pos, row_neg, column_pos, column_neg);                              \
    } else {                                                                                                           \
      if (tile.b) add_sums_of_tile<false, true>(tile, row_pos, row_neg, column_pos, column_neg);                       \
      else add_sums_of_tile<false, false>(tile, row_pos, row_neg, column_pos, column_neg);                             \
    }                                                                                                                  \
  }                                                                                                                    \
  template <>                                                                                                          \
  DEC_CLONES void make_weights(const Tile<element, scalar>& tile, const scalar* row_alpha, const scalar* row_beta,     \
                               const scalar* column_alpha, const scalar* column_beta) {                                \
    if (tile.temperature.inside) {                                                                                     \
      if (tile.a) make_weights_of_tile<true, true>(tile, row_alpha, row_beta, column_alpha, column_beta);              \
      else make_weights_of_tile<true, false>(tile, row_alpha, row_beta, column_alpha, column_beta);                    \
    } else {                                                                                                           \
      if (tile.a) make_weights_of_tile<false, true>(tile, row_alpha, row_beta, column_alpha, column_beta);             \
      else make_weights_of_tile<false, false>(tile, row_alpha, row_beta, column_alpha, column_beta);                   \
    }                                                                                                                  \
  }

DEC_INSTANCE(float, float)
DEC_INSTANCE(double, double)
DEC_INSTANCE(bf16, float)

DEC_CLONES void round(bf16* __restrict target, const float* __restrict x, std::int64_t count) {
#pragma omp simd
  for (std::int64_t k = 0; k < count; ++k) store(target[k], x[k]);
}

DEC_CLONES void accumulate(float* __restrict sum, const bf16* __restrict x, std::int64_t count) {
#pragma omp simd
  for (std::int64_t k = 0; k < count; ++k) sum[k] += load(x[k]);
}

#define DEC_MASK_INSTANCE(scalar)                                                                                      \
  template <>                                                                                                          \
  DEC_CLONES bool find_positives(const Band<scalar>& band, std::int64_t i, std::int64_t columns, Flag<scalar>* mask) { \
    return find_positives_of_row(band, i, columns, mask);                                                              \
  }

DEC_MASK_INSTANCE(float)
DEC_MASK_INSTANCE(double)

}  // namespace dec
