// Four floats a register: SSE2 (every x86-64) and NEON (every AArch64).
#pragma once

#define REGARD_LANES 4
#include "types.h"

#if defined(__aarch64__)
// 32 registers: 6 x 4 running sums, 4 vectors, broadcasts taken by lane.
#define REGARD_REGISTERS 32
#define REGARD_TILE_ROWS 6
#define REGARD_TILE_VECTORS 4
#else
// 16 registers, and no multiply-add: products need one more.
#define REGARD_REGISTERS 16
#define REGARD_TILE_ROWS 4
#define REGARD_TILE_VECTORS 2
#endif

namespace {

// Columns become rows: x[i][j] -> x[j][i] of a 4 x 4 block.
REGARD_INLINE void transpose(Vec *x) {
  Vec y[4];
  for (int i = 0; i < 4; ++i)
    y[i] = Vec{x[0][i], x[1][i], x[2][i], x[3][i]};
  for (int i = 0; i < 4; ++i)
    x[i] = y[i];
}

} // namespace
