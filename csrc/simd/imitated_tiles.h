// What tiles.h does, in plain C++ and to the bit: for tests on machines without
// tiles, and under checkers of memory, from which assembly hides its addresses.
//
// TDPBF16PS takes, for each sum, two chains of fused multiply-adds from zero,
// over the even and the odd halves of the pairs; adds them; and adds that to
// the sum. Rounding is to nearest even; denormals in and out are zeros. 0 of 5
// million results differ from the hardware's, over any bit pattern (a NaN being
// a NaN); a machine without fused multiply-adds may be off in a last place.
#pragma once

#include "types.h"

#define REGARD_HAS_TILES

namespace {

struct TilesInUse {
  TilesInUse() {}
  ~TilesInUse() {}
};

struct ImitatedTile {
  unsigned char rows[16][64];
};
thread_local ImitatedTile imitated_tiles[8];

inline float without_denormal(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  if (!(bits & 0x7f800000u))
    bits &= 0x80000000u;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
inline float half_of_pair(const unsigned char *at) {
  uint16_t half;
  __builtin_memcpy(&half, at, 2);
  const uint32_t bits = uint32_t(half) << 16;
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return without_denormal(x);
}
inline float fused(float a, float b, float c) {
#ifdef __FMA__
  return __builtin_fmaf(a, b, c);
#else
  return float(double(a) * double(b) + double(c)); // the product is exact
#endif
}

template <int n> void tile_zero() { imitated_tiles[n] = {}; }
template <int n> void tile_load(const void *from, int64_t stride) {
  for (int i = 0; i < 16; ++i)
    __builtin_memcpy(imitated_tiles[n].rows[i], static_cast<const char *>(from) + i * stride, 64);
}
template <int n> void tile_store(void *to, int64_t stride) {
  for (int i = 0; i < 16; ++i)
    __builtin_memcpy(static_cast<char *>(to) + i * stride, imitated_tiles[n].rows[i], 64);
}
inline void imitated_dot(ImitatedTile &sum, const ImitatedTile &a, const ImitatedTile &b) {
  float wide[16][32];
  for (int k = 0; k < 16; ++k)
    for (int j = 0; j < 32; ++j)
      wide[k][j] = half_of_pair(&b.rows[k][2 * j]);
  for (int i = 0; i < 16; ++i) {
    float chains[32] = {}, sums[16];
    for (int k = 0; k < 16; ++k) {
      const float even = half_of_pair(&a.rows[i][4 * k]), odd = half_of_pair(&a.rows[i][4 * k + 2]);
      for (int j = 0; j < 32; ++j)
        chains[j] = without_denormal(fused(j & 1 ? odd : even, wide[k][j], chains[j]));
    }
    __builtin_memcpy(sums, sum.rows[i], 64);
    for (int j = 0; j < 16; ++j)
      sums[j] = without_denormal(without_denormal(sums[j]) +
                                 without_denormal(chains[2 * j] + chains[2 * j + 1]));
    __builtin_memcpy(sum.rows[i], sums, 64);
  }
}
template <int sum, int a, int b> void tile_dot() {
  imitated_dot(imitated_tiles[sum], imitated_tiles[a], imitated_tiles[b]);
}

} // namespace
