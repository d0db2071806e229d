// The two kinds of products of the backward pass.
//
// With queries in the lanes (scores, dP, and dQ turned): multiply_tile of
// products.h, on areas of [..][kGroup].
//
// With the head's width in the lanes (dK, dV): rows are keys, and what is
// contracted is every query of a strip. The other operand, dO or Q, is packed
// in panels of as many vectors as one tile takes, so that a panel is read
// straight through.
#pragma once

#include "blocks.h"
#include "tile_grid.h"

namespace {

// A number known to the compiler, as an argument of a generic lambda.
template <int n> struct Count {
  static constexpr int value = n;
};

// f(Count<rows>) for 1 <= rows <= kMost.
template <int kMost, class F> REGARD_INLINE void with_count(int64_t rows, const F &f) {
  if constexpr (kMost > 1) {
    if (rows < kMost)
      return with_count<kMost - 1>(rows, f);
  }
  f(Count<kMost>{});
}

constexpr bool kManyRegisters = kTileVectors == 4; // 32, else 16
constexpr int kMostPanelVectors = kManyRegisters ? 5 : 3;

// Rows of a tile of kV vectors: as many running sums as fit.
constexpr int panel_rows(int vectors) {
  if (!kManyRegisters)
    return vectors == 1 ? kTileRows + 2 : vectors == 2 ? kTileRows : kTileRows - 2;
  return vectors <= 2 ? 12 : vectors == 3 ? 8 : vectors == 4 ? 6 : 5;
}

// The widths of the panels of `vectors` vectors: near kTileVectors and near
// each other, since a narrow panel reads as much of the other operand as a wide
// one. Calls f(first vector, width).
template <class F> REGARD_INLINE void for_panels(int64_t vectors, const F &f) {
  if (vectors <= 0)
    return;
  const bool odd = !kManyRegisters && vectors > 1 && vectors % 2;
  const int64_t wide = kManyRegisters && vectors % 5 == 0 ? 5 : kTileVectors;
  const int64_t panels = odd ? vectors / wide : ceil_div(vectors, wide);
  int64_t first = 0;
  for (int64_t i = 0; i < panels; ++i) {
    const int64_t width = vectors / panels + (i < vectors % panels);
    f(first, width);
    first += width;
  }
}

// The queries of one group that count in a sum over queries, as units.
struct Share {
  int32_t begin, end;
  REGARD_INLINE bool operator==(const Share &other) const {
    return begin == other.begin && end == other.end;
  }
};

// sums[key][vector] += sum over the queries of a strip of weights[key][query]
// times a panel, for the keys [key_begin, key_end) of a block.
template <class Products> struct PanelProduct {
  using Unit = typename Products::Unit;
  const Unit *weights; // [group][key of the block][kGroup / kPerUnit]
  int64_t group_stride;
  const Unit *panels; // [panel][unit of the strip][vectors of the panel]
  int64_t strip_units;
  int64_t groups;
  Rows<float> sums; // of the block

  static constexpr int64_t kUnits = kGroup / Products::kPerUnit;

  void run(int64_t vectors, const Share *share, int64_t key_begin, int64_t key_end) const {
    for_panels(vectors, [&](int64_t first, int64_t width) {
      with_count<kMostPanelVectors>(width, [&](auto v) {
        constexpr int kV = decltype(v)::value;
        constexpr int kR = panel_rows(kV);
        int64_t key = key_begin;
        for (; key + kR <= key_end; key += kR)
          tile<kR, kV>(first, share, key);
        if constexpr (kR > 1)
          if (key < key_end)
            with_count<kR - 1>(key_end - key,
                               [&](auto r) { tile<decltype(r)::value, kV>(first, share, key); });
      });
    });
  }

private:
  template <int kR, int kV>
  REGARD_INLINE void tile(int64_t first, const Share *share, int64_t key) const {
    Vec sum[kR][kV];
    float *at[kR];
#pragma GCC unroll 16
    for (int r = 0; r < kR; ++r) {
      at[r] = sums[key + r] + first * kLanes;
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v)
        sum[r][v] = load(at[r] + v * kLanes);
    }
    // The next tile's sums lie far away: asked for now, they are here in time.
#pragma GCC unroll 16
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v)
        __builtin_prefetch(at[r] + kR * sums.stride + v * kLanes, 1);
    const Unit *panel = panels + first * kLanes * strip_units;
    for (int64_t g = 0; g < groups; ++g) {
      const Unit *a = weights + g * group_stride + key * kUnits;
      const Unit *b = panel + g * kUnits * kV * kLanes;
      for (int64_t k = share[g].begin; k < share[g].end; ++k) {
        decltype(Products::row(b)) row[kV];
#pragma GCC unroll 8
        for (int v = 0; v < kV; ++v)
          row[v] = Products::row(b + (k * kV + v) * kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < kR; ++r) {
          const auto unit = Products::spread(a + r * kUnits + k);
#pragma GCC unroll 8
          for (int v = 0; v < kV; ++v)
            sum[r][v] = Products::add(unit, row[v], sum[r][v]);
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v)
        store(sums[key + r] + (first + v) * kLanes, sum[r][v]);
  }
};

// f(Count<vectors>, first vector) over the lane vectors [begin, end): whole
// tiles, then what is left.
template <class F> REGARD_INLINE void for_lane_vectors(int begin, int end, const F &f) {
  int v = begin;
  for (; v + kTileVectors <= end; v += kTileVectors)
    f(Count<kTileVectors>{}, v);
  if constexpr (kTileVectors > 1)
    if (v < end)
      with_count<kTileVectors - 1>(end - v, [&](auto n) { f(n, v); });
}

// Of a strip of keys with the queries of a group in the lanes.
template <class Products> struct StripProducts {
  using Unit = typename Products::Unit;

  // out[r][lane] = sum over the units of rows(r) * turned[unit][lane], for `count`
  // keys and the lane vectors [begin, end).
  static REGARD_APART void along_rows(Operand<Unit> rows, int64_t count, const Unit *turned, int64_t units,
                                      int begin, int end, float *out) {
    for_lane_vectors(begin, end, [&](auto n, int v) {
      constexpr int kV = decltype(n)::value;
      with_count<kTileRows>(count, [&](auto m) {
        constexpr int kR = decltype(m)::value;
        Vec sum[kR][kV] = {};
        multiply_tile<Products, Along::kRows, kR, kV>(rows.units, rows.stride, turned + v * kLanes, units, sum);
#pragma GCC unroll 8
        for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
          for (int i = 0; i < kV; ++i)
            store(out + r * kGroup + (v + i) * kLanes, sum[r][i]);
      });
    });
  }

  // sums[e][lane] += sum over `count` units of keys: columns(unit, e) *
  // weights[unit][lane].
  static REGARD_APART void along_columns(Operand<Unit> columns, int64_t width, Operand<Unit> weights,
                                         int64_t count, int begin, int end, float *sums) {
    for_lane_vectors(begin, end, [&](auto n, int v) {
      constexpr int kV = decltype(n)::value;
      for (int64_t e = 0; e < width; e += kTileRows) {
        with_count<kTileRows>(smaller<int64_t>(kTileRows, width - e), [&](auto m) {
          constexpr int kR = decltype(m)::value;
          float *at = sums + e * kGroup + v * kLanes;
          Vec sum[kR][kV];
#pragma GCC unroll 8
          for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
            for (int i = 0; i < kV; ++i)
              sum[r][i] = load(at + r * kGroup + i * kLanes);
          multiply_tile<Products, Along::kAcross, kR, kV>(columns.units + e, columns.stride,
                                                          weights.units + v * kLanes, count, sum);
#pragma GCC unroll 8
          for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
            for (int i = 0; i < kV; ++i)
              store(at + r * kGroup + i * kLanes, sum[r][i]);
        });
      }
    });
  }
};

#ifdef REGARD_HAS_TILES
// The three in tiles: 16 keys, queries or columns by 16, over 16 units a step.
// Panels are one, columns lie turned, and `count` may end between tiles: rows
// of keys beyond are room, units beyond are 0.
template <int kParts> struct PanelProduct<TileProducts<kParts>> {
  const int32_t *weights;
  int64_t group_stride;
  const int32_t *panels;
  int64_t strip_units, groups;
  Rows<float> sums;

  static constexpr int64_t kUnits = kGroup / 2;

  void run(int64_t vectors, const Share *share, int64_t key_begin, int64_t key_end) const {
    const int64_t width = vectors * kLanes;
    for (int64_t key = key_begin; key < key_end; key += 2 * kTileSide)
      for (int64_t column = 0; column < width; column += 2 * kTileSide)
        for (int64_t g = 0; g < groups; ++g) {
          if (share[g].begin >= share[g].end)
            continue;
          const int64_t first = share[g].begin / kTileSide * kTileSide;
          const int32_t *own = weights + g * group_stride + key * kUnits + first;
          multiply_either<kParts>(TileGrid(own, kUnits, group_stride / kParts),
                                  TileGrid(panels + (g * kUnits + first) * width + column, width, strip_units * width),
                                  TileGrid(sums[key] + column, sums.stride), key + kTileSide < key_end,
                                  column + kTileSide < width, ceil_div(share[g].end - first, kTileSide), true);
        }
  }
};

template <int kParts> struct StripProducts<TileProducts<kParts>> {
  static void along_rows(Operand<int32_t> rows, int64_t count, const int32_t *turned, int64_t units,
                         int begin, int end, float *out) {
    multiply_grid<kParts>(TileGrid(rows.units, rows.stride, rows.part), TileGrid(turned, kGroup, units * kGroup),
                          TileGrid(out, kGroup), ceil_div(count, kTileSide), begin / kQuadVectors,
                          end / kQuadVectors, units / kTileSide, false);
  }
  static void along_columns(Operand<int32_t> columns, int64_t width, Operand<int32_t> weights, int64_t count,
                            int begin, int end, float *sums) {
    multiply_grid<kParts>(TileGrid(columns.units, columns.stride, columns.part),
                          TileGrid(weights.units, kGroup, weights.part), TileGrid(sums, kGroup),
                          ceil_div(width, kTileSide), begin / kQuadVectors, end / kQuadVectors,
                          ceil_div(count, kTileSide), true);
  }
};
#endif

} // namespace
