// With landmarks: what the positive pairs add to the sums and gradients by features, on the CPU.
#pragma once

#include <ATen/ATen.h>

#include <tuple>

namespace dec {

// Prepared rows: fields of dec_kernels.patches.Patches and, in its landmarks, of Features; all contiguous.
struct Near {
  at::Tensor z, p, x, h_scale, sketch;    // of the columns: (G, m, D) three times, (G, m), (G, m, 4)
  at::Tensor feature_z, feature_h;        // of the columns: (G, m, features)
  at::Tensor column_of_row, first, last;  // (r), (G, r), (G, r)
  double radius, reach, inverse_t;        // x(X) = exp(X inverse_t)

  bool centred() const { return !x.is_same(p); }
};

// Of the positives of each row, (G, r) each: Qpos without its factor 1 / t_pos, what the features say of the same pairs,
// and their number.
//
//   sum_j m_ij (x(S_ij) + 2 x(A_ij))        sum_j m_ij (F_z,i + 2 F_h,i) . F_z,j        sum_j m_ij
std::tuple<at::Tensor, at::Tensor, at::Tensor> near_sums_cpu(const Near& near);

// dz (G, r, D) of the rows, with alpha and beta (G, m) of the columns, which already hold the factors 1 / t:
//
//   dz_k += sum_j m_kj {   [(alpha_k + alpha_j) x(S_kj) - (beta_k + beta_j) F_z,k . F_z,j] z_j
//                      + 2 [           alpha_j  x(A_jk) -           beta_j  F_z,k . F_h,j] h_j }
//
// A row whose columns are all positives has no negatives that dz could be of: there dz is overwritten, without the parts
// of beta.
void near_gradients_cpu(const Near& near, const at::Tensor& alpha, const at::Tensor& beta, const at::Tensor& dz);

}  // namespace dec
