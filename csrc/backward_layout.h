// How a backward call is cut into items, where their scratch lies, and where dK
// and dV are summed.
#pragma once

#include "backward_bias.h"
#include "backward_order.h"

namespace {

constexpr int kMostStripGroups = 4;
constexpr int kMostBlockKeys = 128;
constexpr int kMostRuns = kMostBlockKeys / kSubBlock;

// How a call is cut, and where an item's scratch lies; sizes in bytes.
template <class T, class Products> struct BackwardLayout : Shape {
  static constexpr int kPer = Products::kPerUnit;
  static constexpr bool kPair = kPer == 2;

  int64_t groups; // of a strip
  int64_t key_units, value_units, key_stride, value_stride, key_width, value_width;
  bool key_direct, value_direct; // sums are the gradient itself
  bool alone;                    // chains of one item: sums live in its scratch
  int64_t sums_rows, sums_bytes; // of one chain, outside the items
  int64_t pairs_stride;          // of keys in pairs, which lie turned for tiles
  // Of all parts.
  int64_t group_bytes, area_bytes, pairs_bytes, panel_bytes, rows_bytes, turned_bytes, bytes;

  explicit BackwardLayout(const regard_args &a) {
    groups = smaller<int64_t>(kPair ? 4 : 2, ceil_div(larger<int64_t>(a.queries, 1), kGroup));
    strip = groups * kGroup;
    block = kPair ? 128 : a.dropout > 0 ? 128 : 96;
    strips = ceil_div(a.queries, strip);
    blocks = ceil_div(a.keys, block);
    shared = a.heads / larger<int64_t>(a.kv_heads, 1);
    key_units = units_of<Products>(a.head_dim);
    value_units = units_of<Products>(a.value_dim);
    key_stride = round_up(key_units, kLanes);
    value_stride = round_up(value_units, kLanes);
    constexpr int kStep = kLanes > Products::kUnitStep ? kLanes : Products::kUnitStep;
    key_width = round_up(a.head_dim, kStep);
    value_width = round_up(a.value_dim, kStep);
    sums_rows = round_up(a.keys, Products::kUnitStep);
    constexpr bool kFloat = sizeof(T) == sizeof(float) && !Products::kTiles; // tiles end beyond the last key
    key_direct = kFloat && key_width == a.head_dim;
    value_direct = kFloat && value_width == a.value_dim;
    alone = chain() <= 1;
    const int64_t key_sums = key_direct ? 0 : key_width, value_sums = value_direct ? 0 : value_width;
    sums_bytes = alone ? 0 : sums_rows * (key_sums + value_sums) * 4;
    constexpr int64_t kBytes = 4 * Products::kParts; // of a unit
    group_bytes = (key_units + value_units) * kGroup * kBytes + round_up(a.head_dim, Products::kUnitStep) * kGroup * 4;
    area_bytes = block * kGroup / kPer * kBytes;
    const int64_t pairs = block / 2 + (Products::kTiles ? 16 : 0);
    pairs_bytes = kPair ? pairs * kGroup * kBytes : 0;
    pairs_stride = Products::kTiles ? pairs : key_width;
    panel_bytes = strip / kPer * (key_width + value_width) * kBytes; // of Q and dO
    rows_bytes = block * (key_stride + value_stride) * kBytes;       // keys and values
    turned_bytes = kPair ? pairs_stride * (Products::kTiles ? key_width : block / 2) * kBytes : 0; // keys in pairs
    bytes = groups * (group_bytes + 2 * area_bytes + pairs_bytes) + panel_bytes + rows_bytes + turned_bytes +
            (alone ? block * (key_sums + value_sums) * 4 : 0) +
            3 * kStrip * kGroup * 4 +                        // scores, dP, slopes
            (a.grad_position_bias ? round_up(DiagonalSums::length(strip, a.keys), 16) * 4 : 0);
  }
};

template <class T> struct Floats {
  static REGARD_INLINE Rows<float> rows(Rows<T>) { return {nullptr, 0}; }
};
template <> struct Floats<float> {
  static REGARD_INLINE Rows<float> rows(Rows<float> x) { return x; }
};

// Where dK or dV of one key/value head is summed, and where it goes.
template <class T> struct Gradient {
  Rows<T> out;
  float *sums; // null: in `out`
  int64_t width, stride;
  bool of_block; // sums hold one block

  Rows<float> block(int64_t key) const {
    if (!sums)
      return {Floats<T>::rows(out)[key], Floats<T>::rows(out).stride};
    return {of_block ? sums : sums + key * stride, stride};
  }
  void start(int64_t begin, int64_t end) const {
    const Rows<float> rows = block(begin);
    for (int64_t j = 0; j < end - begin; ++j)
      for (int64_t e = 0; e < stride; e += kLanes)
        store(rows[j] + e, Vec{});
  }
  void finish(int64_t begin, int64_t end) const {
    if (!sums)
      return;
    const Rows<float> rows = block(begin);
    for (int64_t j = begin; j < end; ++j)
      for (int64_t e = 0; e < width; e += kLanes)
        store_elements(out[j] + e, load(rows[j - begin] + e),
                       int(smaller<int64_t>(kLanes, width - e)));
  }
};

} // namespace
