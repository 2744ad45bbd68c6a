// The exact distance of two patches, for the loops that are compiled for several instruction sets.
#pragma once

#include "arithmetic.h"

namespace dec {

// Differences, not |p_i|^2 + |p_j|^2 - 2 p_i . p_j: that cancels, and a patch can end up far from itself.
template <typename sum, typename scalar>
DEC_PAIR sum squared_distance(const scalar* __restrict p_i, const scalar* __restrict p_j, std::int64_t dim) {
  sum total = 0;
#pragma omp simd reduction(+ : total)
  for (std::int64_t d = 0; d < dim; ++d) {
    const sum difference = static_cast<sum>(p_i[d]) - static_cast<sum>(p_j[d]);
    total += difference * difference;
  }
  return total;
}

// |p_i - p_j| <= radius, exactly as float64 would have it; `squared` is the squared distance in float32, where that is
// what the rows are.
template <typename scalar>
DEC_PAIR bool within(scalar squared, const scalar* p_i, const scalar* p_j, std::int64_t dim, double radius) {
  if (sizeof(scalar) == sizeof(float)) {
    const Verdict quick = verdict(static_cast<float>(squared), radius);
    if (quick != Verdict::ask_float64) return quick == Verdict::positive;
  }
  return std::sqrt(squared_distance<double>(p_i, p_j, dim)) <= radius;
}

template <typename scalar>
DEC_PAIR bool positive(const scalar* p_i, const scalar* p_j, std::int64_t dim, double radius) {
  return within(squared_distance<scalar>(p_i, p_j, dim), p_i, p_j, dim, radius);
}

}  // namespace dec
