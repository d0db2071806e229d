#include "../simd/avx2.h"

#define REGARD_UNIT_NAME "avx2"
#define REGARD_UNIT_TABLE avx2_table
#include "../unit.h"
