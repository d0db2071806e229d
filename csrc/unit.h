// One instruction set's table: included once by each unit in isa/, after its
// simd header, with REGARD_UNIT_NAME and REGARD_UNIT_TABLE defined.
#include "backward.h"
#include "forward.h"
#include "forward_summary.h"
#include "inspect_cells.h"
#include "inspect_rows.h"
#include "inspect_summary.h"
#include "linear_backward.h"
#include "multiply_add_loop.h"

namespace {

int forward(const regard_args &a) {
  return with_element(a.dtype, [&](auto element) { return run_forward(a, element); });
}

int forward_summary(const regard_args &a) {
  return with_element(a.dtype, [&](auto element) { return run_forward_summary(a, element); });
}

int backward(const regard_args &a) {
  return with_element(a.dtype, [&](auto element) { return run_backward(a, element); });
}

int linear_forward(const regard_linear_args &a) {
  return with_element(a.dtype, [&](auto element) { return run_linear_forward(a, element); });
}

int linear_backward(const regard_linear_args &a) {
  return with_element(a.dtype, [&](auto element) { return run_linear_backward(a, element); });
}

int64_t parts(int64_t dtype) {
  int64_t found = 1;
  with_element(dtype, [&](auto element) { return int(found = kPartsOf<decltype(element)>); });
  return found;
}

} // namespace

namespace regard {

const Table REGARD_UNIT_TABLE = {
    REGARD_UNIT_NAME,
    forward,
    backward,
    inspect<TilePass>,
    inspect<PooledPass>,
    inspect<ReceivedPass>,
    inspect<EntropyPass>,
    inspect<PeakPass>,
    inspect<TopPass>,
    inspect<SummaryPass>,
    forward_summary,
    linear_forward,
    linear_backward,
    multiply_add_loop,
    parts,
};

} // namespace regard
