#include "near_cpu.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "arithmetic.h"
#include "clones.h"
#include "distance.h"
#include "lanes.h"

// Each row walks over its band by itself, pair by pair, since positives are few: sketches, many columns at a time, leave
// the candidates, of which the distance decides. A row is one thread's from its first column to its last, so the bits do
// not depend on the number of threads, nor on which of them takes it.
namespace dec {
namespace {

using at::Tensor;

constexpr std::int64_t kBlock = 128;  // columns whose sketches are compared at a time
constexpr std::int64_t kChunk = 16;   // rows that a thread takes at a time
constexpr std::int64_t kRun = 256;    // positives whose gradients are added up before they are added to the others

// `Near` as the loops read it.
template <typename scalar>
struct Columns {
  const scalar *z, *p, *x, *h_scale, *feature_z, *feature_h;
  const scalar* sketch;  // (G, 4, m), so that neighbours in memory are columns
  const std::int64_t *column_of_row, *first, *last;
  std::int64_t r, m, dim, features;
  double radius;
  scalar squared_reach, inverse_t;
};

// A row among the columns of its group.
template <typename scalar>
struct Row {
  std::int64_t offset, column, first, last;  // offset: of the group, in columns

  DEC_PAIR Row(const Columns<scalar>& x, std::int64_t index)
      : offset(index / x.r * x.m), column(x.column_of_row[index % x.r]), first(x.first[index]), last(x.last[index]) {}
};

// Of the columns from start to stop, those that the sketches leave; returns their number.
template <typename scalar>
DEC_PAIR std::int64_t find_candidates(const Columns<scalar>& x, const Row<scalar>& row, std::int64_t start,
                                      std::int64_t stop, std::int64_t* __restrict found) {
  // As wide as the values that are compared, or the compiler fills an eighth of its vectors.
  using flag = std::conditional_t<sizeof(scalar) == 4, std::int32_t, std::int64_t>;
  const scalar* s_0 = x.sketch + 4 * row.offset;
  const scalar *s_1 = s_0 + x.m, *s_2 = s_1 + x.m, *s_3 = s_2 + x.m;
  const scalar i_0 = s_0[row.column], i_1 = s_1[row.column], i_2 = s_2[row.column], i_3 = s_3[row.column];
  flag near[kBlock], some = 0;
#pragma omp simd reduction(| : some)
  for (std::int64_t j = start; j < stop; ++j) {
    near[j - start] = within_reach(s_0[j] - i_0, s_1[j] - i_1, s_2[j] - i_2, s_3[j] - i_3, x.squared_reach);
    some |= near[j - start];
  }
  std::int64_t count = 0;
  if (!some) return count;
  for (std::int64_t j = start; j < stop; ++j) {
    found[count] = j;
    count += near[j - start];
  }
  return count;
}

// Of a pair (i, j): |p_i - p_j|^2, S_ij = z_i . z_j, and one of x_i . z_j and z_i . x_j.
template <typename scalar>
struct Products {
  scalar squared = 0, s = 0, a = 0;
};

// What is read of a row, or of a column.
template <typename scalar>
struct Values {
  const scalar *z, *p, *x;

  DEC_PAIR Values(const Columns<scalar>& all, std::int64_t column)
      : z(all.z + column * all.dim), p(all.p + column * all.dim), x(all.x + column * all.dim) {}
};

// Those of row i and two columns, which share what is loaded of the row. Unless patches are centred, x is p.
template <bool x_i_z_j, bool centred, typename scalar>
DEC_PAIR void multiply(const Values<scalar>& i, const Values<scalar> two[2], std::int64_t dim, Products<scalar> of[2]) {
  if (dim < kLanes<scalar>) {
    for (int k = 0; k < 2; ++k) {
      const Values<scalar>& j = two[k];
      of[k] = {squared_distance<scalar>(i.p, j.p, dim), dot(i.z, j.z, dim),
               x_i_z_j ? dot(i.x, j.z, dim) : dot(i.z, j.x, dim)};
    }
    return;
  }
  Lanes<scalar> squared[2]{}, s[2]{}, a[2]{};
  each_piece<scalar>(dim, [&](std::int64_t d, auto rest) {
    Lanes<scalar> row_p, left_z, left_x;
    row_p.load(i.p + d);
    left_z.load(i.z + d);
    left_x.load(i.x + d);
    if (rest) {
      left_z.keep_last(rest);
      left_x.keep_last(rest);
    }
    for (int k = 0; k < 2; ++k) {
      Lanes<scalar> column_z, column_p, column_x, difference;
      column_z.load(two[k].z + d);
      column_p.load(two[k].p + d);
      if (centred && !x_i_z_j) column_x.load(two[k].x + d);
      else column_x = column_p;
      difference.values = row_p.values - column_p.values;
      if (rest) difference.keep_last(rest);
      squared[k].values += difference.values * difference.values;
      s[k].values += left_z.values * column_z.values;
      a[k].values += x_i_z_j ? left_x.values * column_z.values : left_z.values * column_x.values;
    }
  });
  for (int k = 0; k < 2; ++k) of[k] = {squared[k].sum(), s[k].sum(), a[k].sum()};
}

// Calls body(j, S_ij, a) for every positive j of row i, with a = x_i . z_j or z_i . x_j. All products of a pair are taken
// at once, even if it turns out to be no positive: most candidates are.
template <bool x_i_z_j, bool centred, typename scalar, typename Body>
DEC_PAIR void each_positive(const Columns<scalar>& x, const Row<scalar>& row, const Body& body) {
  const Values<scalar> i(x, row.offset + row.column);
  std::int64_t found[kBlock];
  for (std::int64_t start = row.first; start < row.last; start += kBlock) {
    const std::int64_t count = find_candidates(x, row, start, std::min(start + kBlock, row.last), found);
    for (std::int64_t c = 0; c < count; c += 2) {
      const std::int64_t two[] = {found[c], found[std::min(c + 1, count - 1)]};
      const Values<scalar> columns[] = {{x, row.offset + two[0]}, {x, row.offset + two[1]}};
      Products<scalar> of[2];
      multiply<x_i_z_j, centred>(i, columns, x.dim, of);
      for (std::int64_t k = 0; k < std::min<std::int64_t>(2, count - c); ++k) {
        if (within(of[k].squared, i.p, columns[k].p, x.dim, x.radius)) body(two[k], of[k].s, of[k].a);
      }
    }
  }
}

template <bool centred, typename scalar>
DEC_PAIR void add_sums(const Columns<scalar>& x, const Row<scalar>& row, scalar* __restrict both, scalar& qpos,
                       scalar& taken_off, scalar& positives) {
  const std::int64_t i = row.offset + row.column;
  const scalar *f_z = x.feature_z + i * x.features, *f_h = x.feature_h + i * x.features;
  for (std::int64_t k = 0; k < x.features; ++k) both[k] = f_z[k] + 2 * f_h[k];
  double exact = 0, similar = 0;
  std::int64_t number = 0;
  each_positive<true, centred>(x, row, [&](std::int64_t j, scalar s, scalar a) {
    exact += exponential(s * x.inverse_t) + 2 * exponential(a * x.h_scale[i] * x.inverse_t);
    similar += dot(both, x.feature_z + (row.offset + j) * x.features, x.features);
    ++number;
  });
  qpos = static_cast<scalar>(exact);
  taken_off = static_cast<scalar>(similar);
  positives = static_cast<scalar>(number);
}

template <typename scalar>
DEC_PAIR bool has_negatives(const Columns<scalar>& x, const Row<scalar>& row) {
  if (row.last - row.first < x.m) return true;
  const scalar* p = x.p + row.offset * x.dim;
  for (std::int64_t j = 0; j < x.m; ++j) {
    if (!positive(p + row.column * x.dim, p + j * x.dim, x.dim, x.radius)) return true;
  }
  return false;
}

template <bool centred, typename scalar>
DEC_PAIR void add_gradient(const Columns<scalar>& x, const Row<scalar>& row, const scalar* alpha, const scalar* beta,
                           scalar* __restrict run, scalar* __restrict dz) {
  const std::int64_t i = row.offset + row.column;
  const scalar* f_i = x.feature_z + i * x.features;
  const bool features_count = has_negatives(x, row);
  if (!features_count) std::fill(dz, dz + x.dim, 0);
  std::int64_t in_run = 0;
  const auto add_run = [&] {
#pragma omp simd
    for (std::int64_t d = 0; d < x.dim; ++d) {
      dz[d] += run[d];
      run[d] = 0;
    }
    in_run = 0;
  };
  each_positive<false, centred>(x, row, [&](std::int64_t column, scalar s, scalar a) {
    const std::int64_t j = row.offset + column;
    scalar of_z = (alpha[i] + alpha[j]) * exponential(s * x.inverse_t);
    scalar of_h = alpha[j] * exponential(a * x.h_scale[j] * x.inverse_t);
    if (features_count) {
      of_z -= (beta[i] + beta[j]) * dot(f_i, x.feature_z + j * x.features, x.features);
      of_h -= beta[j] * dot(f_i, x.feature_h + j * x.features, x.features);
    }
    of_h *= 2 * x.h_scale[j];
    const scalar *__restrict z_j = x.z + j * x.dim, *__restrict x_j = x.x + j * x.dim;
#pragma omp simd
    for (std::int64_t d = 0; d < x.dim; ++d) run[d] += of_z * z_j[d] + of_h * x_j[d];
    if (++in_run == kRun) add_run();
  });
  if (in_run) add_run();
}

// The loops over rows begin, ..., end - 1 that are compiled for each instruction set. target_clones does not apply to
// templates, so each instance is a function of its own that inlines them. `work` holds zeros: features, or D.
template <bool centred, typename scalar>
void sums_of_rows(const Columns<scalar>& x, std::int64_t begin, std::int64_t end, scalar* work, scalar* qpos,
                  scalar* taken_off, scalar* positives);

template <bool centred, typename scalar>
void gradients_of_rows(const Columns<scalar>& x, std::int64_t begin, std::int64_t end, const scalar* alpha,
                       const scalar* beta, scalar* work, scalar* dz);

#define DEC_INSTANCE(centred, scalar)                                                                                  \
  template <>                                                                                                          \
  DEC_CLONES void sums_of_rows<centred>(const Columns<scalar>& x, std::int64_t begin, std::int64_t end, scalar* work,  \
                                        scalar* qpos, scalar* taken_off, scalar* positives) {                          \
    for (std::int64_t k = begin; k < end; ++k) {                                                                       \
      add_sums<centred>(x, Row(x, k), work, qpos[k], taken_off[k], positives[k]);                                      \
    }                                                                                                                  \
  }                                                                                                                    \
  template <>                                                                                                          \
  DEC_CLONES void gradients_of_rows<centred>(const Columns<scalar>& x, std::int64_t begin, std::int64_t end,           \
                                             const scalar* alpha, const scalar* beta, scalar* work, scalar* dz) {      \
    for (std::int64_t k = begin; k < end; ++k) {                                                                       \
      add_gradient<centred>(x, Row(x, k), alpha, beta, work, dz + k * x.dim);                                          \
    }                                                                                                                  \
  }

DEC_INSTANCE(false, float)
DEC_INSTANCE(false, double)
DEC_INSTANCE(true, float)
DEC_INSTANCE(true, double)

template <typename scalar>
Columns<scalar> columns(const Near& near, const Tensor& sketch) {
  const auto values = [](const Tensor& x) { return x.const_data_ptr<scalar>(); };
  const auto integers = [](const Tensor& x) { return x.const_data_ptr<std::int64_t>(); };
  return {values(near.z),
          values(near.p),
          values(near.x),
          values(near.h_scale),
          values(near.feature_z),
          values(near.feature_h),
          values(sketch),
          integers(near.column_of_row),
          integers(near.first),
          integers(near.last),
          near.first.size(1),
          near.z.size(1),
          near.z.size(2),
          near.feature_z.size(2),
          near.radius,
          squared_reach(static_cast<scalar>(near.reach)),
          static_cast<scalar>(near.inverse_t)};
}

// Calls body(begin, end, work), in all threads, for chunks of rows; `work` is `width` zeros that a thread keeps. Chunks
// are taken as threads get to them, since bands differ in width and a core may be busy with something else.
template <typename scalar, typename Body>
void each_chunk(std::int64_t rows, std::int64_t width, const Body& body) {
  std::atomic<std::int64_t> next{0};
  at::parallel_for(0, std::min<std::int64_t>(at::get_num_threads(), (rows + kChunk - 1) / kChunk), 1,
                   [&](std::int64_t, std::int64_t) {
                     std::vector<scalar> work(width, 0);
                     for (std::int64_t begin; (begin = next.fetch_add(kChunk)) < rows;) {
                       body(begin, std::min(begin + kChunk, rows), work.data());
                     }
                   });
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> near_sums_cpu(const Near& near) {
  const auto of_rows = [&] { return at::empty(near.first.sizes(), near.z.options()); };
  const Tensor qpos = of_rows(), taken_off = of_rows(), positives = of_rows();
  const Tensor sketch = near.sketch.transpose(1, 2).contiguous();
  AT_DISPATCH_FLOATING_TYPES(near.z.scalar_type(), "near_sums_cpu", [&] {
    const auto x = columns<scalar_t>(near, sketch);
    each_chunk<scalar_t>(qpos.numel(), x.features, [&](std::int64_t begin, std::int64_t end, scalar_t* work) {
      (near.centred() ? sums_of_rows<true, scalar_t> : sums_of_rows<false, scalar_t>)(x, begin, end, work, qpos.data_ptr<scalar_t>(), taken_off.data_ptr<scalar_t>(),
                   positives.data_ptr<scalar_t>());
    });
  });
  return {qpos, taken_off, positives};
}

void near_gradients_cpu(const Near& near, const Tensor& alpha, const Tensor& beta, const Tensor& dz) {
  const Tensor sketch = near.sketch.transpose(1, 2).contiguous();
  AT_DISPATCH_FLOATING_TYPES(near.z.scalar_type(), "near_gradients_cpu", [&] {
    const auto x = columns<scalar_t>(near, sketch);
    each_chunk<scalar_t>(near.first.numel(), x.dim, [&](std::int64_t begin, std::int64_t end, scalar_t* work) {
      (near.centred() ? gradients_of_rows<true, scalar_t> : gradients_of_rows<false, scalar_t>)(x, begin, end, alpha.const_data_ptr<scalar_t>(), beta.const_data_ptr<scalar_t>(), work,
                        dz.data_ptr<scalar_t>());
    });
  });
}

}  // namespace dec
