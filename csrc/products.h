// The matrix product of one register tile, the heart of every pass:
//
//   sum[r][lane] += sum over k of a(r, k) * b[k][lane]
//
// a is read one unit at a time and broadcast; b has kGroup lanes a row. So a
// key or value matrix can be `a` as it lies in memory, whatever its strides,
// and only the (few) queries of a group are rearranged.
#pragma once

#include "simd/vector.h"

namespace {

// Queries worked on together: the lanes of every [..][kGroup] area.
constexpr int kGroup = 64;
constexpr int kTileRows = REGARD_TILE_ROWS;
constexpr int kTileVectors = REGARD_TILE_VECTORS;
// Where a tile's running sums take nearly all registers, GCC still gives some
// to constants of what follows in the same loop, and a sum goes to memory and
// back at each step, at half the speed. There what follows is a call apart.
constexpr bool kFewRegisters = REGARD_REGISTERS < 32;
// Lanes whose visibility is told apart.
constexpr int kQuad = 16;
constexpr int kQuads = kGroup / kQuad;
constexpr int kQuadVectors = kQuad / kLanes;

// Nothing has to be had to use registers.
struct AnyTime {
  AnyTime() {}
  ~AnyTime() {}
};

// How a unit of the contracted dimension is multiplied.
struct FloatProducts {
  using Unit = float;
  using Streaming = FloatProducts; // where reading a matrix once is all there is to do
  using InUse = AnyTime;           // lives as long as products are taken
  static constexpr int kPerUnit = 1;
  static constexpr int kParts = 1;    // bfloat16 that a number is the sum of
  static constexpr int kUnitStep = 1; // units of a width are padded to multiples
  static constexpr int kWeightRow = kGroup; // from one unit of the weights to the next
  static constexpr int kBlockKeys = 128;        // keys of the forward pass; a multiple of kPart
  static constexpr bool kTiles = false;
  static REGARD_INLINE Vec spread(const float *a) { return splat(*a); }
  static REGARD_INLINE Vec row(const float *b) { return load(b); }
  static REGARD_INLINE Vec add(Vec a, Vec b, Vec sum) { return multiply_add(a, b, sum); }
};

#ifdef REGARD_HAS_DOT_BFLOAT16
// Two bfloat16 in one 32-bit unit.
struct PairProducts {
  using Unit = int32_t;
  using Streaming = PairProducts;
  using InUse = AnyTime;
  static constexpr int kPerUnit = 2;
  static constexpr int kParts = 1;
  static constexpr int kUnitStep = 1;
  static constexpr int kWeightRow = kGroup;
  static constexpr int kBlockKeys = 128;
  static constexpr bool kTiles = false;
  static REGARD_INLINE Int spread(const int32_t *a) {
    int32_t unit;
    __builtin_memcpy(&unit, a, sizeof unit); // rows may start at odd elements
    return splat_int(unit);
  }
  static REGARD_INLINE Int row(const int32_t *b) { return load_int(b); }
  static REGARD_INLINE Vec add(Int a, Int b, Vec sum) { return dot_bfloat16(a, b, sum); }
};
#endif

#ifdef REGARD_HAS_TILES
// The same in whole tiles: tile_products.h. With more than one part every area
// of units is followed by as many panels of the same shape (parts.h).
template <int parts> struct TileProducts {
  using Unit = int32_t;
  using Streaming = FloatProducts;
  using InUse = TilesInUse;
  static constexpr int kPerUnit = 2;
  static constexpr int kParts = parts;
  static constexpr int kUnitStep = 16;
  // Where their first score was: a row at half the distance would meet, in the
  // low bits of its address, scores that are read soon, which stalls the reads.
  static constexpr int kWeightRow = 2 * kGroup;
  // Scores, weights in parts and output of a block share the nearest cache.
  static constexpr int kBlockKeys = parts > 1 ? 64 : 128;
  static constexpr bool kTiles = true;
};
#endif

// Weights lose more by their rounding than by a short polynomial.
template <class Products> constexpr bool kRoundsWeights = Products::kPerUnit == 2 && Products::kParts == 1;

template <class Products> constexpr int64_t units_of(int64_t width) {
  return (width + Products::kPerUnit * Products::kUnitStep - 1) /
         (Products::kPerUnit * Products::kUnitStep) * Products::kUnitStep;
}

// a(r, k) is at a[r * stride + k] (along rows) or a[k * stride + r] (across).
enum class Along { kRows, kAcross };

template <class Products, Along along, int kR, int kV>
REGARD_INLINE void multiply_tile(const typename Products::Unit *a, int64_t stride,
                                 const typename Products::Unit *b, int64_t count,
                                 Vec (&sum)[kR][kV]) {
  for (int64_t k = 0; k < count; ++k) {
    decltype(Products::row(b)) column[kV];
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v)
      column[v] = Products::row(b + k * kGroup + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      const auto unit =
          Products::spread(along == Along::kRows ? a + r * stride + k : a + k * stride + r);
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v)
        sum[r][v] = Products::add(unit, column[v], sum[r][v]);
    }
  }
}

// Calls f.template operator()<kR>() for the number of rows left, 1..kTileRows.
template <int kR, class F> REGARD_INLINE void with_rows(int64_t rows, const F &f) {
  if constexpr (kR > 1) {
    if (rows < kR)
      return with_rows<kR - 1>(rows, f);
  }
  f.template run<kR>();
}

} // namespace
