// Output and summary in one pass, for short rows: the forward pass over a few
// groups keeps their scores, and the summary reads them where it would compute
// them again. Where rows are not short it is the one pass after the other. The
// output is that of the forward pass to the bit.
#pragma once

#include "inspect_summary.h"

namespace {

// Rows whose scores the forward pass has left behind.
template <class T, class Products> struct KeptRows : RowsInLanes {
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
    sum_far_rows(*this);
  }

  // Calls f(run, scores) for all keys that the group sees, as Rectangle does.
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

template <class T, class Products> struct ForwardSummary {
  using Looked = SummaryPass<ReadAs<T, Products>>;
  const Forward<T, Products> forward;
  const Looked summary;

  explicit ForwardSummary(const regard_args &a)
      : forward{a, layout_of<T, Products>(a, true), Dropout(a)}, summary(a) {}

  // Parts of the summary must hold whole items of the forward pass.
  bool in_one_pass(const regard_args &a) const {
    return a.keys <= kShortKeys && a.keys && a.queries && !few_queries(a) &&
           a.part_rows % (forward.layout.groups * kGroup) == 0;
  }
  static void item(int64_t number, unsigned char *scratch, const void *context) {
    const ForwardSummary &own = *static_cast<const ForwardSummary *>(context);
    const typename Products::InUse in_use;
    const int64_t per_head = own.summary.per_head;
    KeptRows<T, Products> rows(own.forward, number / per_head, scratch);
    own.summary.item(rows, per_head - 1 - number % per_head);
  }
};

template <class T, class Products> int run_forward_summary_with(const regard_args &a) {
  const ForwardSummary<T, Products> both(a);
  if (!both.in_one_pass(a)) {
    const int code = run_forward_with<T, Products>(a);
    return code == REGARD_OK ? run_pass<typename ForwardSummary<T, Products>::Looked>(a) : code;
  }
  const int64_t heads = a.batch * a.heads;
  const double cost = double(heads) * double(a.queries) * double(a.keys) *
                      (2.0 * double(a.head_dim + a.value_dim) + 20.0);
  return regard::for_each_item(heads * both.summary.per_head, cost,
                               both.forward.layout.bytes + both.summary.bytes,
                               ForwardSummary<T, Products>::item, &both);
}

template <class T> int run_forward_summary(const regard_args &a, T) {
  return with_products<T>(a, Pass::kForward, [&](auto products) {
    return run_forward_summary_with<T, decltype(products)>(a);
  });
}

} // namespace
