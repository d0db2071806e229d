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

double multiply_add_loop(int64_t dtype, int64_t rounds) {
#ifdef REGARD_HAS_DOT_BFLOAT16
  if (dtype == REGARD_BFLOAT16)
    return spin<PairProducts>(rounds);
#endif
  (void)dtype;
  return spin<FloatProducts>(rounds);
}

} // namespace
