// Rewriting rows of the inputs into what the products of the backward pass
// read. A unit is one element as a float, or two bfloat16 of neighbouring
// elements (of one row) or neighbouring rows ("pairs"). What lies beyond a row
// or beyond the last row is zero.
#pragma once

#include "backward_tiles.h"

namespace {

// kLanes units of rows `low` and `high` (null: zeros) from element e on, or a
// part of them.
template <class Products, class T>
REGARD_INLINE Vec units_of_rows(const T *low, const T *high, int64_t e, int64_t width, int part = 0) {
  if constexpr (Products::kPerUnit == 2)
    return pairs_of_rows(low, high, e, width, part);
  else
    return load_elements(low + e, int(smaller<int64_t>(kLanes, width - e)));
}

// Rows of one matrix, `rows` of them, `width` elements each.
template <class T> struct Block {
  Rows<const T> data;
  int64_t rows, width;

  Block from(int64_t row, int64_t count) const {
    return {{data[row], data.stride}, smaller(count, rows - row), width};
  }
};

// Whether rows can be read as units where they lie: they hold whole units, and
// are not so far apart that they compete for the same places of the cache.
template <class Products, class T> bool units_in_place(const Block<T> &x) {
  constexpr int kPer = Products::kPerUnit;
  return !Products::kTiles && sizeof(T) * kPer == sizeof(typename Products::Unit) && x.width % kPer == 0 &&
         x.data.stride % kPer == 0 && x.data.stride * int64_t(sizeof(T)) <= 1024;
}

// Asks for `count` rows from `row` on, as far as there are rows.
template <class T> REGARD_INLINE void prefetch_rows(const Block<T> &x, int64_t row, int64_t count) {
  for (int64_t i = row; i < smaller(row + count, x.rows); ++i)
    for (int64_t e = 0; e < x.width; e += int64_t(64 / sizeof(T)))
      __builtin_prefetch(x.data[i] + e);
}


// out[unit of rows][element], `stride` a multiple of kLanes: each unit holds
// one row, or two where units are pairs.
template <class Products, class T>
void pack_down(const Block<T> &x, int64_t stride, typename Products::Unit *out, int part = 0) {
  constexpr int kPer = Products::kPerUnit;
  float *to = reinterpret_cast<float *>(out);
  for (int64_t i = 0; i < x.rows; i += kPer, to += stride) {
    const T *low = x.data[i], *high = i + 1 < x.rows ? x.data[i + 1] : nullptr;
    for (int64_t e = 0; e < stride; e += kLanes)
      store(to + e, units_of_rows<Products>(low, high, e, x.width, part));
  }
}

// The same from unit `begin` on, cut into panels of `units` units: see
// PanelProduct.
template <class Products, class T>
void pack_panels(const Block<T> &x, int64_t units, int64_t begin, typename Products::Unit *out) {
  constexpr int kPer = Products::kPerUnit;
  if constexpr (Products::kTiles) { // one panel of everything, to the end of the group
    const int64_t stride = round_up(x.width, Products::kUnitStep);
    for (int part = 0; part < Products::kParts; ++part, out += units * stride) {
      pack_down<Products>(x, stride, out + begin * stride, part);
      for (int64_t i = ceil_div(x.rows, kPer); i < kGroup / kPer; ++i)
        __builtin_memset(out + (begin + i) * stride, 0, size_t(stride) * 4);
    }
    return;
  }
  for_panels(ceil_div(x.width, kLanes), [&](int64_t first, int64_t width) {
    float *to = reinterpret_cast<float *>(out) + (first * units + begin * width) * kLanes;
    for (int64_t i = 0; i < x.rows; i += kPer) {
      const T *low = x.data[i], *high = i + 1 < x.rows ? x.data[i + 1] : nullptr;
      for (int64_t v = first; v < first + width; ++v, to += kLanes)
        store(to, units_of_rows<Products>(low, high, v * kLanes, x.width));
    }
  });
}

// out[part][unit][lane], lane i holding row i.
template <class Products, class T>
void pack_turned(const Block<T> &x, typename Products::Unit *out) {
  const int64_t units = units_of<Products>(x.width);
  float *turned = reinterpret_cast<float *>(out);
  for (int v = 0; v < kGroup / kLanes; ++v)
    for (int64_t u = 0; u < units; u += kLanes) {
      const int64_t some = smaller<int64_t>(kLanes, units - u);
      for (int part = 0; part < Products::kParts; ++part) {
        Vec lanes[kLanes];
        for (int i = 0; i < kLanes; ++i)
          lanes[i] = v * kLanes + i < x.rows
                         ? load_units<Products>(x.data[v * kLanes + i], u, x.width, part)
                         : Vec{};
        transpose(lanes);
        for (int64_t i = 0; i < some; ++i)
          store(turned + (part * units + u + i) * kGroup + v * kLanes, lanes[i]);
      }
    }
}

// sums[e][lane] times `factor` back to rows.
template <class T>
void write_turned(const float *sums, float factor, int64_t rows, int64_t width, Rows<T> out) {
  for (int v = 0; v < kGroup / kLanes && v * kLanes < rows; ++v) {
    const int some = int(smaller<int64_t>(kLanes, rows - v * kLanes));
    for (int64_t e = 0; e < width; e += kLanes) {
      const int n = int(smaller<int64_t>(kLanes, width - e));
      Vec lanes[kLanes] = {};
      for (int i = 0; i < n; ++i)
        lanes[i] = load(sums + (e + i) * kGroup + v * kLanes) * splat(factor);
      transpose(lanes);
      for (int i = 0; i < some; ++i)
        store_elements(out[v * kLanes + i] + e, lanes[i], n);
    }
  }
}

template <class T> void zero_rows(Rows<T> out, int64_t begin, int64_t end, int64_t width) {
  for (int64_t i = begin; i < end; ++i)
    for (int64_t e = 0; e < width; e += kLanes)
      store_elements(out[i] + e, Vec{}, int(smaller<int64_t>(kLanes, width - e)));
}

// Sum over the width of the products of two rows.
template <class T, class U>
REGARD_INLINE float row_product(const T *x, const U *y, int64_t width) {
  Vec sum = Vec{};
  for (int64_t e = 0; e < width; e += kLanes) {
    const int n = int(smaller<int64_t>(kLanes, width - e));
    sum = multiply_add(load_elements(x + e, n), load_elements(y + e, n), sum);
  }
  return sum_of(sum);
}

template <class T> bool all_finite(const Block<T> &x) {
  Vec sum = Vec{};
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t e = 0; e < x.width; e += kLanes)
      sum = sum + load_elements(x.data[i] + e, int(smaller<int64_t>(kLanes, x.width - e))) *
                      splat(0.0f);
  return !any((Int)(sum != sum));
}

} // namespace
