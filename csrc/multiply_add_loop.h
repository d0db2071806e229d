// The multiply-adds that this instruction set can do in a loop that does
// nothing else: what the kernels are measured against.
#pragma once

#include "products.h"

namespace {

template <class Products> double spin(int64_t rounds) {
  // Opaque to the compiler, which could else compute with the known zeros, or
  // one sum for all.
  typename Products::Unit units[kGroup] = {};
  float zeros[kTileRows * kTileVectors * kLanes] = {};
  asm volatile("" : "+m"(units), "+m"(zeros));
  const auto a = Products::spread(units);
  const auto b = Products::row(units);
  Vec sum[kTileRows][kTileVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kTileVectors; ++v)
      sum[r][v] = load(zeros + (r * kTileVectors + v) * kLanes);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v)
        sum[r][v] = Products::add(a, b, sum[r][v]);
  }
  Vec all = Vec{};
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kTileVectors; ++v)
      all = all + sum[r][v];
  float sink[kLanes];
  store(sink, all);
  asm volatile("" : : "m"(sink));
  return 2.0 * Products::kPerUnit * kLanes * kTileRows * kTileVectors * double(rounds);
}

#ifdef REGARD_HAS_TILES
double spin_tiles(int64_t rounds) {
  const TilesInUse in_use;
  tile_zero<0>(), tile_zero<1>(), tile_zero<2>(), tile_zero<3>();
  tile_zero<4>(), tile_zero<5>(), tile_zero<6>(), tile_zero<7>();
  for (int64_t i = 0; i < rounds; ++i)
    tile_dot<0, 4, 6>(), tile_dot<1, 4, 7>(), tile_dot<2, 5, 6>(), tile_dot<3, 5, 7>();
  return 4 * 2.0 * 16 * 16 * 32 * double(rounds); // sums, each of 32 products
}
#endif

double multiply_add_loop(int64_t dtype, int64_t rounds) {
#ifdef REGARD_HAS_TILES
  if (dtype == REGARD_BFLOAT16)
    return spin_tiles(rounds);
#endif
#ifdef REGARD_HAS_DOT_BFLOAT16
  if (dtype == REGARD_BFLOAT16)
    return spin<PairProducts>(rounds);
#endif
  (void)dtype;
  return spin<FloatProducts>(rounds);
}

} // namespace
