// The epilogues of a tile on the CPU: what happens between the products. Vectorised, one thread each.
#pragma once

#include "arithmetic.h"

#include <type_traits>

namespace dec {

// The mask of a row of a tile: 0 or 1. As wide as the scalars beside it, or GCC fills an eighth of its vectors.
template <typename scalar>
using Flag = std::conditional_t<sizeof(scalar) == 4, std::int32_t, std::int64_t>;

// What the mask of a tile is made of.
template <typename scalar>
struct Band {
  std::int64_t dim;
  const scalar *row_p, *column_p;                  // (rows, dim) and (columns, dim)
  const scalar *row_sketch, *column_sketch[4];     // (rows, 4), and four times (columns)
  const std::int64_t *first, *last;                // (rows): positives of row i have first[i] <= start + j < last[i]
  std::int64_t start;
  double radius;
  scalar squared_reach;
};

// A tile of a symmetric pair of blocks of rows, I (rows of the tile) and J (columns).
//
//   s[i, j] = z_i . z_j      a[i, j] = x_i . z_j      b[i, j] = z_i . x_j      (A_ij = a * h_scale_i, A_ji = b * h_scale_j)
//
// A tile on the diagonal (I = J) holds both orders of every pair itself, and needs only one of a and b.
template <typename element, typename scalar>
struct Tile {
  std::int64_t rows, columns;
  element *s, *a, *b;                                // rows x columns, contiguous; a or b may be null
  const scalar *row_scale, *column_scale;            // h_scale of I and of J
  Band<scalar> band;
  Flag<scalar>* mask;                                // columns, to work in
  Temperature<scalar> temperature;
};

// Adds to Qpos and Qneg of the rows what the columns give them and, where `tile.b` is there, to the columns' own what
// the rows give them. (Without the factors 1 / t.)
template <typename element, typename scalar>
void add_sums(const Tile<element, scalar>& tile, scalar* row_pos, scalar* row_neg, scalar* column_pos,
              scalar* column_neg);

// Turns the similarities into the weights of the gradient products, in place:
//
//   s <- (w_ij + w_ji) x(S_ij)                        dz_I += s z_J       dz_J += s^T z_I
//   b <- 2 w_ji x(A_ji) h_scale_j                     dz_I += b x_J
//   a <- 2 w_ij x(A_ij) h_scale_i  (where present)                        dz_J += a^T x_I
//
// alpha and beta (of I: row_, of J: column_) already hold the factors 1 / t.
template <typename element, typename scalar>
void make_weights(const Tile<element, scalar>& tile, const scalar* row_alpha, const scalar* row_beta,
                  const scalar* column_alpha, const scalar* column_beta);

// target[k] = x[k], rounded.
void round(bf16* target, const float* x, std::int64_t count);

// sum[k] += x[k], for products that come out as bf16 and are added up in float32.
void accumulate(float* sum, const bf16* x, std::int64_t count);

// The mask of row i of a tile of so many columns: mask[j] = |p_i - p_j| <= radius, exactly as float64 would have it.
// Returns whether any is set; where none is, the mask is left as it was.
template <typename scalar>
bool find_positives(const Band<scalar>& band, std::int64_t i, std::int64_t columns, Flag<scalar>* mask);

}  // namespace dec
