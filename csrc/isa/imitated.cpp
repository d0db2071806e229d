// The unit of tiles with its tiles imitated, in the place of the baseline: for
// tests on any machine (tests/native/test_tiles.py). No library that is
// installed holds it.
#ifdef __AVX512BF16__
#define REGARD_WIDENS_BFLOAT16
#include "../simd/avx512.h"
#else
#include "../simd/narrow.h"
#endif
#ifdef REGARD_REAL_TILES // to compare with, compiled alike
#include "../simd/tiles.h"
#else
#include "../simd/imitated_tiles.h"
#endif

#define REGARD_UNIT_NAME "imitated"
#define REGARD_UNIT_TABLE baseline_table
#include "../unit.h"
