#include "prepare_cpu.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <type_traits>

#include "arithmetic.h"
#include "clones.h"

// Every patch is read three times: for its mean, by which the columns are sorted, and then into its place, HR and SR.
// Sums over a patch are in double, and each by one thread alone, so that they do not depend on the number of threads.
namespace dec {
namespace {

using at::BFloat16;
using at::Half;
using at::Tensor;

// The patches of images (B, C, H, W) of any strides, in image order.
template <typename pixel>
struct Pictures {
  pixel* data;
  std::int64_t channels, size, grid_height, grid_width;
  std::int64_t image_stride, channel_stride, line_stride, pixel_stride;

  Pictures(const Tensor& images, std::int64_t patch_size)
      : data(values(images)),
        channels(images.size(1)),
        size(patch_size),
        grid_height(images.size(2) / patch_size),
        grid_width(images.size(3) / patch_size),
        image_stride(images.stride(0)),
        channel_stride(images.stride(1)),
        line_stride(images.stride(2)),
        pixel_stride(images.stride(3)) {}

  static pixel* values(const Tensor& images) {
    if constexpr (std::is_const_v<pixel>) return images.const_data_ptr<std::remove_const_t<pixel>>();
    else return images.data_ptr<pixel>();
  }
  std::int64_t per_image() const { return grid_height * grid_width; }
  std::int64_t dim() const { return channels * size * size; }

  DEC_PAIR pixel* patch(std::int64_t index) const {
    const std::int64_t image = index / (grid_height * grid_width), rest = index % (grid_height * grid_width);
    return data + image * image_stride + rest / grid_width * size * line_stride +
           rest % grid_width * size * pixel_stride;
  }
};

// Calls body(pixel of the patch, place in its row) for every value. The size and the stride of neighbours are known to
// the compiler where they are the usual ones, for lines as short as these are.
template <std::int64_t usual_size, bool dense, typename pixel, typename Body>
DEC_PAIR void each_pixel(const Pictures<pixel>& pictures, pixel* patch, const Body& body) {
  const std::int64_t size = usual_size ? usual_size : pictures.size, stride = dense ? 1 : pictures.pixel_stride;
  std::int64_t place = 0;
  for (std::int64_t c = 0; c < pictures.channels; ++c) {
    for (std::int64_t y = 0; y < size; ++y, place += size) {
      pixel* line = patch + c * pictures.channel_stride + y * pictures.line_stride;
      for (std::int64_t x = 0; x < size; ++x) body(line[x * stride], place + x);
    }
  }
}

template <typename pixel, typename Body>
DEC_PAIR void each_pixel(const Pictures<pixel>& pictures, std::int64_t index, const Body& body) {
  pixel* patch = pictures.patch(index);
  if (pictures.pixel_stride != 1) each_pixel<0, false>(pictures, patch, body);
  else if (pictures.size == 4) each_pixel<4, true>(pictures, patch, body);
  else if (pictures.size == 8) each_pixel<8, true>(pictures, patch, body);
  else each_pixel<0, true>(pictures, patch, body);
}

template <typename pixel, typename scalar>
DEC_PAIR void load_patch(const Pictures<pixel>& pictures, std::int64_t index, scalar* __restrict row) {
  each_pixel(pictures, index, [&](pixel& value, std::int64_t place) { row[place] = static_cast<scalar>(value); });
}

template <typename pixel, typename scalar>
DEC_PAIR void store_patch(const Pictures<pixel>& pictures, std::int64_t index, const scalar* __restrict row) {
  each_pixel(pictures, index, [&](pixel& value, std::int64_t place) { value = static_cast<pixel>(row[place]); });
}

template <typename scalar>
DEC_PAIR double sum_of(const scalar* __restrict x, std::int64_t dim) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t d = 0; d < dim; ++d) sum += x[d];
  return sum;
}

template <typename left, typename right>
DEC_PAIR double dot(const left* __restrict x, const right* __restrict y, std::int64_t dim) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t d = 0; d < dim; ++d) sum += static_cast<double>(x[d]) * y[d];
  return sum;
}

// max |x|; NaN or not where there is one, as `dot(x, x)` says.
template <typename scalar>
DEC_PAIR scalar largest(const scalar* __restrict x, std::int64_t dim) {
  scalar most = 0;
#pragma omp simd reduction(max : most)
  for (std::int64_t d = 0; d < dim; ++d) most = std::max(most, std::abs(x[d]));
  return most;
}

// Takes the mean of each channel off a row.
template <typename scalar>
DEC_PAIR void center_row(scalar* __restrict row, std::int64_t channels, std::int64_t pixels) {
  for (std::int64_t c = 0; c < channels; ++c, row += pixels) {
    const double mean = sum_of(row, pixels) / static_cast<double>(pixels);
#pragma omp simd
    for (std::int64_t d = 0; d < pixels; ++d) row[d] = static_cast<scalar>(row[d] - mean);
  }
}

// The larger one; NaN where the norm is.
DEC_PAIR double at_least(double norm, double floor) { return norm < floor ? floor : norm; }

// 1 / norm, and 0 for a norm of zero, or of so little that its inverse is infinite.
template <typename scalar>
DEC_PAIR scalar inverse(double norm) {
  const scalar result = static_cast<scalar>(1 / norm);
  return std::isinf(result) ? 0 : result;
}

// What the columns are made of, and where they go; `order` counts the patches of all groups.
template <typename pixel, typename scalar>
struct Columns {
  Pictures<const pixel> sr, hr;
  const std::int64_t* order;
  std::int64_t per_group;
  const double* directions;  // (3, D), orthonormal, or zero
  double max_norm, floor;
  bool center;
  scalar *z, *p, *x, *z_scale, *h_scale, *sketch;  // x is p unless patches are centred

  // Columns begin, ..., end - 1. Returns the largest |p|, NaN where there is one.
  DEC_PAIR scalar make(std::int64_t begin, std::int64_t end) const {
    const std::int64_t dim = hr.dim();
    scalar bound = 0;
    bool nan = false;
    for (std::int64_t j = begin; j < end; ++j) {
      const std::int64_t patch = j / per_group * per_group + order[j];
      double square = make_p(patch, p + j * dim, sketch + j * 4);
      nan |= std::isnan(square);
      if (center) {
        std::copy_n(p + j * dim, dim, x + j * dim);
        center_row(x + j * dim, hr.channels, hr.size * hr.size);
        square = dot(x + j * dim, x + j * dim, dim);
      }
      const double norm = std::sqrt(square);
      h_scale[j] = inverse<scalar>(at_least(norm > max_norm ? kNaN : norm, floor));
      bound = std::max(bound, largest(p + j * dim, dim));
      make_z(patch, z + j * dim, z_scale[j]);
    }
    return nan ? std::numeric_limits<scalar>::quiet_NaN() : bound;
  }

 private:
  static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

  DEC_PAIR double make_p(std::int64_t patch, scalar* __restrict row, scalar* __restrict four) const {
    const std::int64_t dim = hr.dim();
    const double *e0 = directions, *e1 = e0 + dim, *e2 = e1 + dim;
    load_patch(hr, patch, row);
    double square = 0, x0 = 0, x1 = 0, x2 = 0;
#pragma omp simd reduction(+ : square, x0, x1, x2)
    for (std::int64_t d = 0; d < dim; ++d) {
      const double value = row[d];
      square += value * value;
      x0 += value * e0[d];
      x1 += value * e1[d];
      x2 += value * e2[d];
    }
    // Not the square less those of the three: that cancels where a patch is nearly flat.
    double rest = 0;
#pragma omp simd reduction(+ : rest)
    for (std::int64_t d = 0; d < dim; ++d) {
      const double left = row[d] - x0 * e0[d] - x1 * e1[d] - x2 * e2[d];
      rest += left * left;
    }
    four[0] = static_cast<scalar>(x0);
    four[1] = static_cast<scalar>(x1);
    four[2] = static_cast<scalar>(x2);
    four[3] = static_cast<scalar>(std::sqrt(rest));
    return square;
  }

  DEC_PAIR void make_z(std::int64_t patch, scalar* __restrict row, scalar& scale) const {
    const std::int64_t dim = sr.dim();
    load_patch(sr, patch, row);
    if (center) center_row(row, sr.channels, sr.size * sr.size);
    double norm = std::sqrt(dot(row, row, dim));
    if (std::is_same_v<scalar, double> && norm > max_norm) norm = kNaN;
    norm = at_least(norm, floor);
    scale = inverse<scalar>(norm);
    if (norm == 0) return;
    // In float32 a product in double is as good as the quotient; in float64 it would be rounded once more.
    const double factor = 1 / norm;
#pragma omp simd
    for (std::int64_t d = 0; d < dim; ++d) {
      row[d] = static_cast<scalar>(std::is_same_v<scalar, double> ? row[d] / norm : row[d] * factor);
    }
  }
};

// The loops over patches that are compiled for each instruction set. target_clones does not apply to templates, so each
// instance is a function of its own that inlines them.
template <typename pixel, typename scalar>
void make_means(const Pictures<const pixel>& hr, scalar* row, scalar* means, std::int64_t begin, std::int64_t end);

template <typename pixel, typename scalar>
scalar make_columns(const Columns<pixel, scalar>& columns, std::int64_t begin, std::int64_t end);

template <typename pixel, typename scalar>
void store_rows(const Pictures<pixel>& pictures, const scalar* rows, const std::int64_t* order, std::int64_t per_group,
                std::int64_t begin, std::int64_t end);

template <typename scalar>
void project_row(scalar* g, const scalar* z, scalar scale, bool divided_by_floor, std::int64_t dim);

#define DEC_PIXEL_INSTANCE(pixel, scalar)                                                                              \
  template <>                                                                                                          \
  DEC_CLONES void make_means(const Pictures<const pixel>& hr, scalar* row, scalar* means, std::int64_t begin,          \
                             std::int64_t end) {                                                                       \
    for (std::int64_t k = begin; k < end; ++k) {                                                                       \
      load_patch(hr, k, row);                                                                                          \
      means[k] = static_cast<scalar>(sum_of(row, hr.dim()) / static_cast<double>(hr.dim()));                           \
    }                                                                                                                  \
  }                                                                                                                    \
  template <>                                                                                                          \
  DEC_CLONES scalar make_columns(const Columns<pixel, scalar>& columns, std::int64_t begin, std::int64_t end) {        \
    return columns.make(begin, end);                                                                                   \
  }                                                                                                                    \
  template <>                                                                                                          \
  DEC_CLONES void store_rows(const Pictures<pixel>& pictures, const scalar* rows, const std::int64_t* order,           \
                             std::int64_t per_group, std::int64_t begin, std::int64_t end) {                           \
    for (std::int64_t i = begin; i < end; ++i) {                                                                       \
      store_patch(pictures, i / per_group * per_group + order[i], rows + i * pictures.dim());                          \
    }                                                                                                                  \
  }

DEC_PIXEL_INSTANCE(float, float)
DEC_PIXEL_INSTANCE(double, float)
DEC_PIXEL_INSTANCE(Half, float)
DEC_PIXEL_INSTANCE(BFloat16, float)
DEC_PIXEL_INSTANCE(float, double)
DEC_PIXEL_INSTANCE(double, double)
DEC_PIXEL_INSTANCE(Half, double)
DEC_PIXEL_INSTANCE(BFloat16, double)

#define DEC_PROJECT_INSTANCE(scalar)                                                                                   \
  template <>                                                                                                          \
  DEC_CLONES void project_row(scalar* __restrict g, const scalar* __restrict z, scalar scale, bool divided_by_floor,   \
                              std::int64_t dim) {                                                                      \
    const scalar along = divided_by_floor ? 0 : static_cast<scalar>(dot(g, z, dim));                                   \
    _Pragma("omp simd") for (std::int64_t d = 0; d < dim; ++d) g[d] = (g[d] - along * z[d]) * scale;                   \
  }

DEC_PROJECT_INSTANCE(float)
DEC_PROJECT_INSTANCE(double)

// The constant and the lowest horizontal and vertical cosine of the DCT, over all channels: (3, D). Patches of one pixel
// have the constant alone, and zeros for the others.
std::vector<double> directions(std::int64_t channels, std::int64_t size) {
  const std::int64_t dim = channels * size * size;
  std::vector<double> rows(3 * dim, 0.0);
  const double flat = 1 / std::sqrt(static_cast<double>(dim)), wave = size > 1 ? flat * std::sqrt(2.0) : 0;
  std::vector<double> cosine(size);
  for (std::int64_t k = 0; k < size; ++k) cosine[k] = std::cos(M_PI * (static_cast<double>(k) + 0.5) / size) * wave;
  for (std::int64_t d = 0; d < dim; ++d) {
    rows[d] = flat;
    rows[dim + d] = cosine[d % size];
    rows[2 * dim + d] = cosine[d / size % size];
  }
  return rows;
}

// The band of rows with ascending means among columns with ascending means; a NaN is behind all others in both.
template <typename scalar>
void find_band(const scalar* means, std::int64_t columns, const std::int64_t* column_of_row, std::int64_t rows,
               scalar width, std::int64_t* first, std::int64_t* last) {
  std::int64_t start = 0, stop = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    const scalar mean = means[column_of_row[i]];
    while (start < columns && !(means[start] >= mean - width)) ++start;
    while (stop < columns && !(means[stop] > mean + width)) ++stop;
    first[i] = start;
    last[i] = stop;
  }
}

// For what PyTorch's own loops are cut into pieces by.
std::int64_t grain(std::int64_t dim) { return std::max<std::int64_t>(1, at::internal::GRAIN_SIZE / dim); }

// Takes tensors from one memory, one behind the other, or from the allocator where the memory is empty.
class Arena {
 public:
  explicit Arena(const Tensor& memory) : memory_(memory) {}

  Tensor take(at::IntArrayRef sizes, at::ScalarType dtype) {
    if (memory_.numel() == 0) return at::empty(sizes, dtype);
    const auto size = static_cast<std::int64_t>(c10::elementSize(dtype));
    Tensor taken = at::empty({0}, dtype);
    taken.set_(memory_.storage(), (memory_.storage_offset() + offset_) / size, sizes, c10::contiguous_strides(sizes));
    offset_ += taken.numel() * size;
    TORCH_INTERNAL_ASSERT(offset_ <= memory_.numel());
    return taken;
  }

  Tensor rest() const { return memory_.narrow(0, offset_, memory_.numel() - offset_); }

 private:
  const Tensor memory_;
  std::int64_t offset_ = 0;
};

// What is prepared, before it is known which columns are rows if not all are.
struct Fields {
  Tensor column_order, first, last, z, p, x, sketch, h_scale, z_scale, reach, products;

  // The largest numbers come first, so that all are aligned.
  Fields(const Tensor& memory, std::int64_t groups, std::int64_t m, std::int64_t rows, std::int64_t dim, bool center,
         at::ScalarType dtype) {
    Arena arena(memory);
    column_order = arena.take({groups, m}, at::kLong);
    first = arena.take({groups, rows}, at::kLong);
    last = arena.take({groups, rows}, at::kLong);
    z = arena.take({groups, m, dim}, dtype);
    p = arena.take({groups, m, dim}, dtype);
    x = center ? arena.take({groups, m, dim}, dtype) : p;
    sketch = arena.take({groups, m, 4}, dtype);
    h_scale = arena.take({groups, m}, dtype);
    z_scale = arena.take({groups, m}, dtype);
    reach = arena.take({}, dtype);
    products = arena.rest();
  }

  std::vector<Tensor> of_rows(const Tensor& column_of_row, const Tensor& order) const {
    return {z, p, x, h_scale, column_order, column_of_row, z_scale, first, last, order, sketch, reach, products};
  }
};

template <typename pixel, typename scalar>
std::vector<Tensor> prepare(const Tensor& sr, const Tensor& hr, std::int64_t start, std::int64_t own,
                            std::int64_t patch_size, bool per_image, double radius, double max_norm, double floor,
                            bool center, const Tensor& memory) {
  const Pictures<const pixel> sr_patches(sr, patch_size), hr_patches(hr, patch_size);
  const std::int64_t dim = hr_patches.dim(), total = hr.size(0) * hr_patches.per_image();
  const std::int64_t groups = per_image ? hr.size(0) : 1, m = total / groups;
  const auto options = at::TensorOptions().dtype(c10::CppTypeToScalarType<scalar>::value);

  const std::int64_t rows = own == hr.size(0) ? m : own * hr_patches.per_image();
  Fields of(memory, groups, m, rows, dim, center, options.dtype().toScalarType());

  Tensor means = at::empty({groups, m}, options), sorted = at::empty_like(means);
  at::parallel_for(0, total, grain(dim), [&](std::int64_t begin, std::int64_t end) {
    std::vector<scalar> row(dim);
    make_means(hr_patches, row.data(), means.data_ptr<scalar>(), begin, end);
  });
  at::sort_out(sorted, of.column_order, means, /*stable=*/true, /*dim=*/1, /*descending=*/false);

  const std::vector<double> e = directions(hr_patches.channels, patch_size);
  const Columns<pixel, scalar> columns{sr_patches,
                                       hr_patches,
                                       of.column_order.data_ptr<std::int64_t>(),
                                       m,
                                       e.data(),
                                       max_norm,
                                       floor,
                                       center,
                                       of.z.data_ptr<scalar>(),
                                       of.p.data_ptr<scalar>(),
                                       of.x.data_ptr<scalar>(),
                                       of.z_scale.data_ptr<scalar>(),
                                       of.h_scale.data_ptr<scalar>(),
                                       of.sketch.data_ptr<scalar>()};
  scalar bound = 0;
  std::mutex bound_lock;
  at::parallel_for(0, total, grain(dim), [&](std::int64_t begin, std::int64_t end) {
    const scalar most = make_columns(columns, begin, end);
    const std::lock_guard lock(bound_lock);
    if (!(most <= bound)) bound = std::isnan(bound) ? bound : most;
  });

  Tensor column_of_row = at::arange(m), order = of.column_order;
  if (rows != m) {
    const std::int64_t low = start * hr_patches.per_image(), high = low + rows;
    column_of_row = at::empty({rows}, at::kLong);
    order = at::empty({1, rows}, at::kLong);
    std::int64_t i = 0;
    for (std::int64_t j = 0; j < m; ++j) {
      const std::int64_t patch = columns.order[j];
      if (patch < low || patch >= high) continue;
      column_of_row.data_ptr<std::int64_t>()[i] = j;
      order.data_ptr<std::int64_t>()[i++] = patch - low;
    }
    of.z_scale = of.z_scale.index_select(1, column_of_row);
  }

  // The margins are those of `_band` and `_reach` in dec_kernels/patches.py.
  const scalar epsilon = std::numeric_limits<scalar>::epsilon(), infinity = std::numeric_limits<scalar>::infinity();
  const double root = std::sqrt(static_cast<double>(dim));
  scalar width = static_cast<scalar>(radius / root * (1 + 1e-5)) + 2 * static_cast<scalar>(dim) * epsilon * bound;
  if (std::isnan(width)) width = infinity;
  else width = std::min(width, std::numeric_limits<scalar>::max());
  const double rounding = epsilon + static_cast<double>(dim) * std::numeric_limits<double>::epsilon();
  scalar farthest = static_cast<scalar>(radius * (1 + 1e-5)) + static_cast<scalar>(8 * root * rounding) * bound;
  if (std::isnan(farthest)) farthest = infinity;

  at::parallel_for(0, groups, std::max<std::int64_t>(1, grain(m)), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t g = begin; g < end; ++g) {
      find_band(sorted.data_ptr<scalar>() + g * m, m, column_of_row.data_ptr<std::int64_t>(), rows, width,
                of.first.data_ptr<std::int64_t>() + g * rows, of.last.data_ptr<std::int64_t>() + g * rows);
    }
  });
  *of.reach.data_ptr<scalar>() = farthest;
  return of.of_rows(column_of_row, order);
}

}  // namespace

std::vector<Tensor> prepare_cpu(const Tensor& sr, const Tensor& hr, std::int64_t start, std::int64_t own,
                                std::int64_t patch_size, bool per_image, double radius, double max_norm,
                                double floor, bool center, bool float64, const Tensor& memory) {
  std::vector<Tensor> fields;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, hr.scalar_type(), "prepare_cpu", [&] {
    const auto function = float64 ? prepare<scalar_t, double> : prepare<scalar_t, float>;
    fields = function(sr, hr, start, own, patch_size, per_image, radius, max_norm, floor, center, memory);
  });
  return fields;
}

std::vector<Tensor> restore_cpu(const Tensor& memory, std::int64_t groups, std::int64_t columns, std::int64_t dim,
                                bool center, bool float64) {
  const Fields of(memory, groups, columns, columns, dim, center, float64 ? at::kDouble : at::kFloat);
  return of.of_rows(at::arange(columns), of.column_order);
}

Tensor sort_cpu(const Tensor& values, const Tensor& order) {
  const std::int64_t groups = order.size(0), m = order.size(1);
  const Tensor sorted = at::empty({values.size(0), groups, m}, values.options());
  const auto* patch = order.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "sort_cpu", [&] {
    const auto* from = values.const_data_ptr<scalar_t>();
    auto* to = sorted.data_ptr<scalar_t>();
    for (std::int64_t k = 0; k < sorted.numel(); ++k) to[k] = from[k / m * m + patch[k % (groups * m)]];
  });
  return sorted;
}

Tensor unsort_cpu(const std::vector<Tensor>& values, const Tensor& order) {
  const std::int64_t groups = order.size(0), r = order.size(1), count = groups * r;
  const Tensor unsorted = at::empty({static_cast<std::int64_t>(values.size()), count}, values[0].options());
  const auto* patch = order.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES(unsorted.scalar_type(), "unsort_cpu", [&] {
    auto* to = unsorted.data_ptr<scalar_t>();
    for (const Tensor& each : values) {
      const Tensor contiguous = each.contiguous();
      const auto* from = contiguous.const_data_ptr<scalar_t>();
      for (std::int64_t k = 0; k < count; ++k) to[k / r * r + patch[k]] = from[k];
      to += count;
    }
  });
  return unsorted;
}

void project_cpu(const Tensor& dz, const Tensor& z, const Tensor& z_scale, const Tensor& column_of_row, double floor) {
  const std::int64_t r = dz.size(1), m = z.size(1), dim = dz.size(2);
  const auto* column = column_of_row.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES(dz.scalar_type(), "project_cpu", [&] {
    const scalar_t most = floor > 0 ? inverse<scalar_t>(floor) : std::numeric_limits<scalar_t>::infinity();
    at::parallel_for(0, dz.size(0) * r, grain(dim), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t k = begin; k < end; ++k) {
        const scalar_t scale = z_scale.const_data_ptr<scalar_t>()[k];
        project_row(dz.data_ptr<scalar_t>() + k * dim, z.const_data_ptr<scalar_t>() + (k / r * m + column[k % r]) * dim,
                    scale, /*divided_by_floor=*/scale >= most, dim);
      }
    });
  });
}

Tensor to_images_cpu(const Tensor& rows, const Tensor& order, const Tensor& like, std::int64_t patch_size) {
  const bool all_covered = like.size(2) % patch_size == 0 && like.size(3) % patch_size == 0;
  Tensor images = all_covered ? at::empty_like(like) : at::zeros_like(like);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, like.scalar_type(), "to_images_cpu", [&] {
    const Pictures<scalar_t> pictures(images, patch_size);
    const auto store = [&](const auto* values) {
      at::parallel_for(0, order.numel(), grain(rows.size(2)), [&](std::int64_t begin, std::int64_t end) {
        store_rows(pictures, values, order.const_data_ptr<std::int64_t>(), order.size(1), begin, end);
      });
    };
    if (rows.scalar_type() == at::kDouble) store(rows.const_data_ptr<double>());
    else store(rows.const_data_ptr<float>());
  });
  return images;
}

}  // namespace dec
