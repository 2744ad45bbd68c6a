// The arithmetic of one pair of patches (i, j), shared by the CPU and the CUDA epilogues.
//
//   e_ij = value(S_ij) + 2 value(A_ij)            value(x) = exp(x) / t, or exp(x / t) with the temperature inside
//   Qpos_i = sum_j m_ij e_ij                      Qneg_i = sum_j (1 - m_ij) e_ij
//   w_ij = m_ij alpha_i / t_pos + (1 - m_ij) beta_i / t_neg
//   dz_k = sum_j (w_kj + w_jk) x(S_kj) z_j + 2 sum_j w_jk x(A_jk) h_j       x(X) = exp(X), or exp(X / t)
//
// The factors 1 / t in front of the sums and of alpha and beta are applied once a row by the callers, so a pair needs
// x(X) alone, in both directions. With the temperature outside x does not depend on the class of the pair.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define DEC_PAIR __host__ __device__ __forceinline__
#else
#define DEC_PAIR inline __attribute__((always_inline))
#endif

namespace dec {

// What x needs to know: 1 / t of each class with the temperature inside, 1 for both outside.
template <typename scalar>
struct Temperature {
  bool inside;
  scalar inverse_pos;
  scalar inverse_neg;
};

// exp in float32 for |x| <= 80, within 2 ulps; NaN stays NaN. On the CPU, std::exp would be a call for every value,
// and this is a dozen operations that vectorise: x = k ln 2 + r, |r| <= ln 2 / 2, exp r as a polynomial.
DEC_PAIR float exponential(float x) {
#ifdef __CUDA_ARCH__
  return __expf(x);
#else
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the sum's low bits are round(x / ln 2)
  const float k = shifted - 12582912.0f;
  const float r = (x - k * 0.693145752f) - k * 1.42860677e-6f;  // ln 2 in two parts, so that k ln 2 is exact enough
  float p = 1.38145988e-3f;  // minimax for the relative error of exp: 3e-9
  p = p * r + 8.36871658e-3f;
  p = p * r + 4.16683890e-2f;
  p = p * r + 1.66665211e-1f;
  p = p * r + 4.99999940e-1f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  std::int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = static_cast<std::int32_t>(static_cast<std::uint32_t>(bits) << 23) + 0x3f800000;  // 2^k
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
#endif
}

DEC_PAIR double exponential(double x) { return exp(x); }

// x(X): `inside` is a template argument so that the usual case has neither a product nor a selection.
template <bool inside, typename scalar>
DEC_PAIR scalar exp_of(scalar similarity, bool positive, const Temperature<scalar>& t) {
  if (inside) similarity *= positive ? t.inverse_pos : t.inverse_neg;
  return exponential(similarity);
}

// Whether squared differences in float32 decide that |p_i - p_j| <= radius, or float64 has to: float32 sums of D
// squares are off by less than 1e-4 for every D up to 10^5, squares near the smallest float32 vanish, and those beyond the
// largest are infinite.
enum class Verdict { positive, negative, ask_float64 };

DEC_PAIR Verdict verdict(float squared_distance, double radius) {
  if (!(squared_distance <= FLT_MAX)) return Verdict::ask_float64;  // so does NaN, which is no positive there
  const double squared_radius = radius * radius;
  if (squared_distance > squared_radius * (1 + 1e-4) + 1e-35) return Verdict::negative;
  if (squared_distance < squared_radius * (1 - 1e-4) - 1e-35) return Verdict::positive;
  return Verdict::ask_float64;
}

// Whether the sketches of two patches leave it open that they are a positive pair (`Patches.sketch` of
// dec_kernels/patches.py). No positive is lost: in real numbers |sketch_i - sketch_j| <= |p_i - p_j| <= radius, the
// reach has room for what the roundings of the sketches and of their differences add to that, and `squared_reach` for
// those of the squares and their sum: with unit roundoff u the sum is at most (1 + u)^6 too large, where 1e-6 is 16 u and
// 1e-15 is 9 u, and squares that underflow are off by less than the smallest normal number. A sum that overflows belongs
// to patches farther apart than 1e18 (1e153), unless the squared reach overflows as well. NaN passes: float64 decides.
DEC_PAIR float squared_reach(float reach) { return reach * reach * (1 + 1e-6f) + 4 * FLT_MIN; }
DEC_PAIR double squared_reach(double reach) { return reach * reach * (1 + 1e-15) + 4 * DBL_MIN; }

template <typename scalar>
DEC_PAIR bool within_reach(scalar d_0, scalar d_1, scalar d_2, scalar d_3, scalar squared_reach) {
  return !(d_0 * d_0 + d_1 * d_1 + d_2 * d_2 + d_3 * d_3 > squared_reach);
}

// bfloat16 as its bits, since neither the CPU nor the CUDA sources here include another library's type.
struct bf16 {
  std::uint16_t bits;
};

DEC_PAIR float load(bf16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

DEC_PAIR float load(float x) { return x; }
DEC_PAIR double load(double x) { return x; }

DEC_PAIR void store(bf16& target, float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  // To the nearest, ties to even; a NaN whose payload is in the low half must not round up to infinity.
  const std::uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
  target.bits = static_cast<std::uint16_t>((value == value ? rounded : bits | 0x400000) >> 16);
}

DEC_PAIR void store(float& target, float value) { target = value; }
DEC_PAIR void store(double& target, double value) { target = value; }

}  // namespace dec
