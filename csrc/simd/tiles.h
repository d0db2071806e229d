// The tile registers of AMX: eight of 16 rows by 64 bytes. Assembly, not the
// compiler's intrinsics: GCC 12 takes a configuration for 8 bytes of its 64, and
// a tile load for no read of memory.
#pragma once

#include "types.h"

#define REGARD_HAS_TILES

namespace {

// While one of these lives, this thread may use the tiles; then they are given
// back, so that others in the process (oneDNN) configure them for themselves.
class TilesInUse {
public:
  TilesInUse() {
    Shape shape = {};
    shape.palette = 1;
    for (int i = 0; i < 8; ++i) {
      shape.row_bytes[i] = 64;
      shape.rows[i] = 16;
    }
    asm volatile("ldtilecfg %0" : : "m"(shape));
  }
  ~TilesInUse() { asm volatile("tilerelease"); }
  TilesInUse(const TilesInUse &) = delete;
  TilesInUse &operator=(const TilesInUse &) = delete;

private:
  struct alignas(64) Shape {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };
};

template <int n> REGARD_INLINE void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(n));
}
// Row i is 64 bytes at `from` plus i times `stride` bytes.
template <int n> REGARD_INLINE void tile_load(const void *from, int64_t stride) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(n), "r"(from), "r"(stride) : "memory");
}
template <int n> REGARD_INLINE void tile_store(void *to, int64_t stride) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(n), "r"(to), "r"(stride) : "memory");
}
// sum[i][j] += sum over k of a[i][k] * b[k / 2][2 * j + k % 2], bfloat16 into
// float32; denormals in and out are zeros.
template <int sum, int a, int b> REGARD_INLINE void tile_dot() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
}

} // namespace
