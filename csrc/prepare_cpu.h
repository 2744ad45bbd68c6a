// Images to prepared rows and back on the CPU: what dec_kernels/patches.py does in PyTorch calls, a patch at a time.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace dec {

// The fields of dec_kernels.patches.Patches, in their order, computed in float64 or in float32; and what is left of
// `memory` (uint8), in which they lie unless it is empty, or not all columns are rows.
//
// sr, hr: images of the columns, (N, C, H, W), of one float dtype and any strides. Rows are the patches of the images
// start, ..., start + own - 1. A norm beyond `max_norm` becomes NaN, of SR patches only in float64. Patches are divided
// by their norm or by `floor`, whichever is larger, with `center` after the mean of each channel was taken off.
std::vector<at::Tensor> prepare_cpu(const at::Tensor& sr, const at::Tensor& hr, std::int64_t start, std::int64_t own,
                                    std::int64_t patch_size, bool per_image, double radius, double max_norm,
                                    double floor, bool center, bool float64, const at::Tensor& memory);

// The same from the memory in which they were prepared.
std::vector<at::Tensor> restore_cpu(const at::Tensor& memory, std::int64_t groups, std::int64_t columns,
                                    std::int64_t dim, bool center, bool float64);

// As `Patches.sort` and `Patches.unsort`: (k, G * m) in image order -> (k, G, m), and k of (G, r) -> (k, G * r).
at::Tensor sort_cpu(const at::Tensor& values, const at::Tensor& order);
at::Tensor unsort_cpu(const std::vector<at::Tensor>& values, const at::Tensor& order);

// As `Patches.project_`: dL/dz of the rows, (G, r, D), overwritten with dL/dq. z: of the columns, (G, m, D); row i is
// column column_of_row[i]; z_scale: of the rows, (G, r).
void project_cpu(const at::Tensor& dz, const at::Tensor& z, const at::Tensor& z_scale, const at::Tensor& column_of_row,
                 double floor);

// Rows (G, r, D), which are patches `order` (G, r) of their groups, to images in the shape, dtype and memory format of
// `like`. Pixels that no patch covers are zero.
at::Tensor to_images_cpu(const at::Tensor& rows, const at::Tensor& order, const at::Tensor& like,
                         std::int64_t patch_size);

}  // namespace dec
