#include "../simd/narrow.h"

#define REGARD_UNIT_NAME "baseline"
#define REGARD_UNIT_TABLE baseline_table
#include "../unit.h"
