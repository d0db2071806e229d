// Output and summary in one pass over the scores, for rows so short that those
// of a few groups stay in the second cache: the forward pass keeps them, and
// the summary reads them where it would compute them again.
#pragma once

#include "inspect_summary.h"

namespace {

// Rows whose scores the forward pass has left behind.
template <class T> struct KeptRows : RowsInLanes {
  using Products = typename ProductsOf<T>::Type;
  const Forward<T, Products> &forward;
  unsigned char *const scratch;
  const Group *group = nullptr;

  KeptRows(const Forward<T, Products> &pass, int64_t head_number, unsigned char *memory)
      : RowsInLanes(pass.a, head_number), forward(pass), scratch(memory) {
    rest = memory + forward.layout.bytes;
  }

  // Goes to the next rows, after the forward pass over all groups of their item.
  void start(int64_t first, int64_t count) {
    const int64_t number_of_group = first / kGroup, together = forward.layout.groups;
    if (number_of_group % together == 0)
      forward.run_part(number, number_of_group / together, scratch);
    group = &forward.group_at(scratch, number_of_group % together);
    go_to(first, count);
  }

  template <class F> void each_run(int64_t, int64_t, const F &f) const {
    const Visible &visible = group->visible;
    const int quads = int(ceil_div(rows, kQuad));
    for (int32_t block = visible.begin / kBlock * kBlock; block < visible.end; block += kBlock) {
      Run runs[kBlock / kSubBlock];
      const int count = visible.plan(block, smaller(block + kBlock, visible.end), runs);
      for (int i = 0; i < count; ++i) {
        Run run = runs[i];
        run.quad_end = smaller(run.quad_end, quads);
        if (run.quad_begin < run.quad_end)
          f(run, group->kept + int64_t(run.begin) * kGroup);
      }
    }
  }
};

constexpr int64_t kShortRows = 512; // keys

template <class T> int run_forward_summary(const regard_args &a, T) {
  using Products = typename ProductsOf<T>::Type;
  struct Both {
    const Forward<T, Products> forward;
    const SummaryPass<T> summary;
  };
  const Both both{{a, layout_of<T, Products>(a, true), Dropout(a)}, SummaryPass<T>(a)};
  const int64_t heads = a.batch * a.heads;
  const double cost = double(heads) * double(a.queries) * double(a.keys) *
                      (2.0 * double(a.head_dim + a.value_dim) + 20.0);
  return regard::for_each_item(
      heads * both.summary.per_head, cost, both.forward.layout.bytes + both.summary.bytes,
      [](int64_t number, unsigned char *scratch, const void *context) {
        const Both &own = *static_cast<const Both *>(context);
        const int64_t per_head = own.summary.per_head;
        KeptRows<T> rows(own.forward, number / per_head, scratch);
        own.summary.item(rows, per_head - 1 - number % per_head);
      },
      &both);
}

} // namespace
