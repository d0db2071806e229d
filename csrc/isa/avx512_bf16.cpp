#include "../simd/avx512.h"

#define REGARD_UNIT_NAME "avx512_bf16"
#define REGARD_UNIT_TABLE avx512_bf16_table
#include "../unit.h"
