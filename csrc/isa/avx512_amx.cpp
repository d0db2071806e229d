// Only products of tiles take bfloat16 as it is: in all others it is widened,
// since the dot products of its pairs run at half the rate of float32 here.
#define REGARD_WIDENS_BFLOAT16
#include "../simd/avx512.h"
#include "../simd/tiles.h"

#define REGARD_UNIT_NAME "avx512_amx"
#define REGARD_UNIT_TABLE avx512_amx_table
#include "../unit.h"
