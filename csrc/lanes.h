// Sums of products over rows, in lanes of 64 bytes. `omp simd reduction` says the same in less, but GCC then adds up the
// lanes one after the other, which for rows as short as these takes longer than all else.
#pragma once

#include <type_traits>

#include "arithmetic.h"

namespace dec {

template <typename scalar>
constexpr std::int64_t kLanes = 64 / sizeof(scalar);

// By references alone: what a function takes or returns as such a vector depends on the instruction set.
template <typename scalar>
struct Lanes {
  using integer = std::conditional_t<sizeof(scalar) == 4, std::int32_t, std::int64_t>;
  typedef scalar Vector __attribute__((vector_size(64)));
  typedef integer Bits __attribute__((vector_size(64)));
  Vector values;

  DEC_PAIR void load(const scalar* x) { std::memcpy(&values, x, sizeof values); }

  // Zero in the lanes before the last `rest`.
  DEC_PAIR void keep_last(std::int64_t rest) {
    static constexpr integer kMask[] = {0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
                                        -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    Bits mask;
    std::memcpy(&mask, kMask + 16 - kLanes<scalar> + rest, sizeof mask);
    values = (Vector)((Bits)values & mask);
  }

  // By halves, which GCC makes of vectors and not of an array.
  DEC_PAIR scalar sum() const {
    typedef scalar Half __attribute__((vector_size(32)));
    typedef scalar Quarter __attribute__((vector_size(16)));
    Half low_half, high_half;
    std::memcpy(&low_half, &values, sizeof low_half);
    std::memcpy(&high_half, reinterpret_cast<const char*>(&values) + sizeof low_half, sizeof high_half);
    low_half += high_half;
    Quarter low, high;
    std::memcpy(&low, &low_half, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&low_half) + sizeof low, sizeof high);
    low += high;
    if constexpr (sizeof(scalar) == sizeof(double)) return low[0] + low[1];
    else return (low[0] + low[2]) + (low[1] + low[3]);
  }
};

// Calls step(d, rest) for pieces of `kLanes` values from d on that cover a row of `count`, at least as many. Where the
// last piece overlaps the one before, only the last `rest` of its values are new; otherwise rest is a constant zero.
template <typename scalar, typename Step>
DEC_PAIR void each_piece(std::int64_t count, const Step& step) {
  std::int64_t d = 0;
  for (; d + kLanes<scalar> <= count; d += kLanes<scalar>) step(d, std::integral_constant<std::int64_t, 0>());
  if (d < count) step(count - kLanes<scalar>, count - d);
}

template <typename scalar>
DEC_PAIR scalar dot(const scalar* x, const scalar* y, std::int64_t count) {
  if (count < kLanes<scalar>) {
    scalar sum = 0;
    for (std::int64_t k = 0; k < count; ++k) sum += x[k] * y[k];
    return sum;
  }
  Lanes<scalar> total{};
  each_piece<scalar>(count, [&](std::int64_t k, auto rest) {
    Lanes<scalar> left, right;
    left.load(x + k);
    right.load(y + k);
    if (rest) left.keep_last(rest);
    total.values += left.values * right.values;
  });
  return total.sum();
}

}  // namespace dec
