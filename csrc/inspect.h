// Looking into the matrix of weights: any rectangle of it again, from queries,
// keys and lse, and what each pass makes of the tiles (inspect_rows.h,
// inspect_cells.h).
//
// As in the forward pass a group of 64 queries is the vector dimension, scores
// are [key][64], and blocks of keys that nobody in the group sees are skipped.
// A weight is exp2(score - lse), so there is no running maximum and no second
// look at a block. Every sum is taken in one order, whatever the threads.
#pragma once

#include "forward.h"

namespace {

template <class T> struct ProductsOf { using Type = FloatProducts; };
#ifdef REGARD_HAS_DOT_BFLOAT16
template <> struct ProductsOf<Bfloat16> { using Type = PairProducts; };
#endif

// A group of rows of one head, each in its lane, and what makes weights of
// their scores.
struct RowsInLanes {
  const regard_args &a;
  const int64_t number, b, h; // of the head
  const Scoring scoring;
  const Vec factor;
  const float *lse;
  unsigned char *rest = nullptr; // of the scratch area, for the pass

  int64_t row = 0, rows = 0; // of the current group
  alignas(64) float norm[kGroup];

  RowsInLanes(const regard_args &args, int64_t head_number)
      : a(args), number(head_number), b(head_number / args.heads), h(head_number % args.heads),
        scoring(args, b, h), factor(splat(scoring.remaining())),
        lse(args.lse + head_number * args.queries) {}

  // The lanes beyond the last row hold something that must not be read.
  void go_to(int64_t first, int64_t count) {
    row = first;
    rows = count;
    for (int64_t i = 0; i < kGroup; ++i) {
      const float value = lse[row + smaller(i, rows - 1)];
      norm[i] = value == -kInfinity ? 0.0f : value * kLog2E;
    }
  }
  REGARD_INLINE Vec log2_weight(Vec score, Vec norm_of_lanes) const {
    return multiply_add(score, factor, -norm_of_lanes);
  }
  REGARD_INLINE Vec weight(Vec score, Vec norm_of_lanes) const {
    return exp2(log2_weight(score, norm_of_lanes));
  }
  // All bits set in the lanes of vector v that hold a row.
  REGARD_INLINE Int real(int v) const {
    return (Int)(iota() < splat_int(int32_t(rows) - v * kLanes));
  }
};

// The rectangle of one head, a group of its rows at a time.
template <class T> struct Rectangle : RowsInLanes {
  using Products = typename ProductsOf<T>::Type;
  using Unit = typename Products::Unit;

  const Head<T, Products> head;
  float *scores; // [kBlock][kGroup]
  Unit *queries, *key_scratch;
  Visible visible;

  static size_t query_bytes(const regard_args &a) {
    return size_t(ceil_div(a.head_dim, Products::kPerUnit)) * kGroup * sizeof(Unit);
  }
  static size_t key_bytes(const regard_args &a) {
    return size_t(Blocks<T, Products>::key_stride(a.head_dim)) * kBlock * sizeof(Unit);
  }
  static size_t bytes(const regard_args &a) {
    return size_t(kBlock) * kGroup * 4 + query_bytes(a) + key_bytes(a);
  }

  Rectangle(const regard_args &args, int64_t head_number, unsigned char *scratch)
      : RowsInLanes(args, head_number), head(args, b, h),
        scores(reinterpret_cast<float *>(scratch)) {
    scratch += size_t(kBlock) * kGroup * 4;
    queries = reinterpret_cast<Unit *>(scratch);
    scratch += query_bytes(a);
    key_scratch = reinterpret_cast<Unit *>(scratch);
    rest = scratch + key_bytes(a);
  }

  // Goes to the rows [first, first + count), at most kGroup of them.
  void start(int64_t first, int64_t count) {
    go_to(first, count);
    visible.read(a, b, h, row);
    turn_queries(head, row, row + rows, queries);
  }

  // Calls f(run, scores) for the keys in [from, to) that the group sees:
  // scores of key k and lane i at scores[(k - run.begin) * kGroup + i], in
  // units that weight() and log2_weight() know; -Inf where hidden.
  template <class F> void each_run(int64_t from, int64_t to, const F &f) {
    const int32_t end = int32_t(smaller<int64_t>(to, visible.end));
    const int32_t begin = int32_t(larger<int64_t>(from, visible.begin));
    const int quads = int(ceil_div(rows, kQuad));
    for (int32_t block = begin; block < end; block += kBlock) {
      const int32_t block_end = smaller(block + kBlock, end);
      Run runs[kBlock / kSubBlock];
      const int count = visible.plan(block, block_end, runs);
      const Operand<Unit> keys = prepare(block, block_end);
      for (int i = 0; i < count; ++i) {
        Run run = runs[i];
        run.quad_end = smaller(run.quad_end, quads);
        if (run.quad_begin >= run.quad_end)
          continue;
        float *at = scores + int64_t(run.begin - block) * kGroup;
        float unused[kGroup];
        for_lane_tiles(run, ScoreTiles<Unit, Products>{
                                keys.units + (run.begin - block) * keys.stride, queries,
                                keys.stride, head.units(), run.end - run.begin, at, unused, false});
        if (run.cut || !scoring.plain)
          finish_scores(scoring, visible, run, row, block, scores);
        f(run, at);
      }
    }
  }

private:
  Operand<Unit> prepare(int64_t begin, int64_t end) {
    if (Blocks<T, Products>{head, nullptr, nullptr, {}, {}, {}}.keys_direct())
      return {reinterpret_cast<const Unit *>(head.key[begin]), head.key.stride / Products::kPerUnit};
    const int64_t stride = Blocks<T, Products>::key_stride(head.width);
    copy_rows<T, Products>(head.key, begin, end, head.width, stride, key_scratch);
    return {key_scratch, stride};
  }
};

// Runs a pass: Pass<T>(args) says how many items a head has and what scratch
// they need, and does one. Causal rows grow, so the last items come first.
template <class Pass> int run_pass(const regard_args &a) {
  const Pass pass(a);
  if (a.row_count == 0 || a.column_count == 0)
    return pass.nothing();
  const int64_t heads = a.batch * a.heads;
  const double cost = double(heads) * double(a.row_count) * double(a.column_count) *
                      (2.0 * double(a.head_dim) + 20.0);
  return regard::for_each_item(
      heads * pass.per_head, cost, Rectangle<typename Pass::Element>::bytes(a) + pass.bytes,
      [](int64_t number, unsigned char *scratch, const void *context) {
        const Pass &own = *static_cast<const Pass *>(context);
        Rectangle<typename Pass::Element> rectangle(own.a, number / own.per_head, scratch);
        own.item(rectangle, own.per_head - 1 - number % own.per_head);
      },
      &pass);
}

template <template <class> class Pass> int inspect(const regard_args &a) {
  return with_element(a.dtype, [&](auto element) { return run_pass<Pass<decltype(element)>>(a); });
}

} // namespace
