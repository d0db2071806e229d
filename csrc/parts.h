// Numbers as sums of bfloat16, which is what tiles multiply: a float is three
// of them exactly, a float16 two. What products of the parts lose is in
// tile_grid.h, which numbers they hold in parts_range.h.
#pragma once

#include "elements.h"

namespace {

// Part `part` of each number: of what the parts before leave, the bfloat16
// nearest to it, so that what a product leaves out has random signs.
REGARD_INLINE Half part_of(Vec x, int part) {
  Half nearest = narrow_bfloat16(x);
  for (int i = 0; i < part; ++i) {
    x = x - widen_bfloat16(nearest);
    nearest = narrow_bfloat16(x);
  }
  return nearest;
}

// The first n (0 to kLanes) elements of a row as bfloat16, or a part of them;
// the others are zero.
REGARD_INLINE Half halves_of(const Bfloat16 *row, int64_t n, int) {
  return n >= kLanes ? load_half(bits_of(row)) : load_half_first(bits_of(row), int(n));
}
template <class T> REGARD_INLINE Half halves_of(const T *row, int64_t n, int part) {
  return part_of(load_elements(row, int(smaller<int64_t>(kLanes, n))), part);
}

// kLanes units of a row from unit u on, each a pair of elements; beyond the
// row's width they are zero.
REGARD_INLINE Vec pairs_of_row(const Bfloat16 *row, int64_t u, int64_t width, int) {
  const int64_t left = larger<int64_t>(0, width - 2 * u);
  return as_vec(load_pairs(bits_of(row) + 2 * u, int(smaller<int64_t>(2 * kLanes, left))));
}
template <class T> REGARD_INLINE Vec pairs_of_row(const T *row, int64_t u, int64_t width, int part) {
  const int64_t left = larger<int64_t>(0, width - 2 * u), rest = larger<int64_t>(0, left - kLanes);
  return as_vec(join_halves(halves_of(row + 2 * u, left, part), halves_of(row + 2 * u + kLanes, rest, part)));
}
// kLanes units from element e on, each of one element of two rows; `high` may
// be null: zeros.
template <class T>
REGARD_INLINE Vec pairs_of_rows(const T *low, const T *high, int64_t e, int64_t width, int part) {
  const int64_t n = larger<int64_t>(0, width - e);
  return as_vec(pair_halves(halves_of(low + e, n, part), high ? halves_of(high + e, n, part) : Half{}));
}

// Weights and their gradients are cut, which is cheaper than to round and
// leaves exact rests; one part is rounded.
REGARD_INLINE Vec upper_half(Vec x) { return as_vec(as_int(x) & int32_t(0xffff0000)); }
REGARD_INLINE Int cut_pair(Vec low, Vec high) {
  return (Int)((UInt)low >> 16) | (as_int(high) & int32_t(0xffff0000));
}

// Two numbers of each lane as pairs, the parts `stride` units apart.
template <int kParts> REGARD_INLINE void store_pairs(int32_t *to, int64_t stride, Vec low, Vec high) {
  if constexpr (kParts == 1)
    return store_int(to, pair_bfloat16(low, high));
#pragma GCC unroll 3
  for (int part = 0; part < kParts; ++part) {
    store_int(to + part * stride, cut_pair(low, high));
    low = low - upper_half(low);
    high = high - upper_half(high);
  }
}

// One number of each lane, the parts `stride` elements apart.
template <int kParts> REGARD_INLINE void store_parts(uint16_t *to, int64_t stride, Vec x) {
  if constexpr (kParts == 1)
    return store_half(to, narrow_bfloat16(x));
#pragma GCC unroll 3
  for (int part = 0; part < kParts; ++part) {
    store_half(to + part * stride, __builtin_convertvector((UInt)x >> 16, Half));
    x = x - upper_half(x);
  }
}

} // namespace
