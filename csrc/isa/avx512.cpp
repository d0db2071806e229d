#include "../simd/avx512.h"

#define REGARD_UNIT_NAME "avx512"
#define REGARD_UNIT_TABLE avx512_table
#include "../unit.h"
