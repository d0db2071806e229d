// Looking into the matrix of weights: any rectangle of it again, from queries,
// keys and lse, and what each pass makes of the tiles (inspect_rows.h,
// inspect_cells.h).
//
// As in the forward pass a group of 64 queries is the vector dimension, scores
// are [key][64], and blocks of keys that nobody in the group sees are skipped.
// A weight is exp(score - lse), so there is no running maximum and no second
// look at a block, but for rows far from zero (is_far): their maximum and sum
// are found anew first. Every sum is taken in one order, whatever the threads.
#pragma once

#include "forward.h"

namespace {

// A group of rows of one head, each in its lane, and what makes weights of
// their scores.
struct RowsInLanes {
  const regard_args &a;
  const int64_t number, b, h; // of the head
  const Scoring scoring;
  const Vec factor;
  const float *lse;
  unsigned char *rest = nullptr; // of the scratch area, for the pass

  const RowNorm *anew; // of the rectangle's rows, where some are far
  int64_t row = 0, rows = 0; // of the current group
  alignas(64) float most[kGroup], log_total[kGroup];

  RowsInLanes(const regard_args &args, int64_t head_number, const RowNorm *norms = nullptr)
      : a(args), number(head_number), b(head_number / args.heads), h(head_number % args.heads),
        scoring(args, b, h), factor(splat(scoring.remaining())),
        lse(args.lse + head_number * args.queries),
        anew(norms ? norms + head_number * args.row_count : nullptr) {}

  // The lanes beyond the last row hold something that must not be read.
  void go_to(int64_t first, int64_t count) {
    row = first;
    rows = count;
    for (int64_t i = 0; i < kGroup; ++i) {
      const int64_t at = row + smaller(i, rows - 1);
      const RowNorm found = anew ? anew[at - a.row_start] : scoring.norm(lse[at]);
      most[i] = found.most;
      log_total[i] = found.rest;
    }
  }
  struct Norm {
    Vec most, rest;
  };
  REGARD_INLINE Norm norm(int v) const {
    return {load(most + v * kLanes), load(log_total + v * kLanes)};
  }
  REGARD_INLINE Norm norm_of_lane(int64_t i) const { return {splat(most[i]), splat(log_total[i])}; }
  REGARD_INLINE Vec log2_weight(Vec score, const Norm &norm) const {
    return (score - norm.most) * factor - norm.rest;
  }
  REGARD_INLINE Vec weight(Vec score, const Norm &norm) const {
    return exp2(log2_weight(score, norm));
  }
  // All bits set in the lanes of vector v that hold a row.
  REGARD_INLINE Int real(int v) const {
    return (Int)(iota() < splat_int(int32_t(rows) - v * kLanes));
  }
};

// The rectangle of one head, a group of its rows at a time. Read is a ReadAs.
template <class Read> struct Rectangle : RowsInLanes {
  using T = typename Read::Element;
  using Products = typename Read::Products;
  using Unit = typename Products::Unit;

  const Head<T, Products> head;
  float *scores; // [kBlock][kGroup]
  Unit *queries, *key_scratch;
  Visible visible;

  static size_t query_bytes(const regard_args &a) {
    return size_t(units_of<Products>(a.head_dim)) * Products::kParts * kGroup * sizeof(Unit);
  }
  static size_t key_bytes(const regard_args &a) {
    return size_t(Blocks<T, Products>::key_stride(a.head_dim)) * Products::kParts * kBlock * sizeof(Unit);
  }
  static size_t bytes(const regard_args &a) {
    return size_t(kBlock) * kGroup * 4 + query_bytes(a) + key_bytes(a);
  }

  Rectangle(const regard_args &args, int64_t head_number, const RowNorm *norms,
            unsigned char *scratch)
      : RowsInLanes(args, head_number, norms), head(args, b, h),
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
                                {keys.units + (run.begin - block) * keys.stride, keys.stride, keys.part},
                                queries, head.units(), run.end - run.begin, at, unused, false});
        if (run.cut || !scoring.plain)
          finish_scores(scoring, visible, run, row, block, scores);
        f(run, at);
      }
    }
  }

private:
  Operand<Unit> prepare(int64_t begin, int64_t end) {
    if (Blocks<T, Products>{head, nullptr, nullptr, {}, {}, {}, 0, 0}.keys_direct(begin, end))
      return {reinterpret_cast<const Unit *>(head.key[begin]), head.key.stride / Products::kPerUnit, 0};
    const int64_t stride = Blocks<T, Products>::key_stride(head.width);
    copy_rows<T, Products>(head.key, begin, end, head.width, stride, stride * kBlock, key_scratch);
    return {key_scratch, stride, stride * kBlock};
  }
};

// Finds the norms of a group's far rows from all their scores: first the
// maximum, then the sum, key by key, whatever runs they come in.
template <class Scored> void sum_far_rows(Scored &r) {
  bool far[kGroup], some = false;
  for (int64_t i = 0; i < kGroup; ++i) {
    far[i] = is_far(r.lse[r.row + smaller(i, r.rows - 1)]);
    some |= far[i];
  }
  if (!some)
    return;
  alignas(64) float most[kGroup], total[kGroup] = {};
  for (float &x : most)
    x = -kInfinity;
  const auto each_vector = [&](const auto &f) {
    r.each_run(0, r.a.keys, [&](const Run &run, const float *scores) {
      for (int v = run.quad_begin * kQuadVectors; v < run.quad_end * kQuadVectors; ++v)
        f(v * kLanes, run.end - run.begin, scores + v * kLanes);
    });
  };
  each_vector([&](int lane, int64_t keys, const float *scores) {
    Vec highest = load(most + lane);
    for (int64_t k = 0; k < keys; ++k)
      highest = largest(load(scores + k * kGroup), highest);
    store(most + lane, highest);
  });
  for (float &x : most)
    x = x == -kInfinity ? 0.0f : x;
  each_vector([&](int lane, int64_t keys, const float *scores) {
    const Vec base = load(most + lane);
    Vec sum = load(total + lane);
    for (int64_t k = 0; k < keys; ++k)
      sum = sum + exp2((load(scores + k * kGroup) - base) * r.factor);
    store(total + lane, sum);
  });
  for (int i = 0; i < kGroup; ++i)
    if (far[i]) {
      r.most[i] = most[i];
      r.log_total[i] = total[i] == 0 ? 0.0f : log2(splat(total[i]))[0];
    }
}

// What makes weights of the scores of the rectangle's rows. An item is a group
// of rows.
template <class T> struct NormPass {
  using Element = T;
  const regard_args &a;
  RowNorm *norms; // [B][H][row_count]
  int64_t per_head;
  size_t bytes = 0;

  NormPass(const regard_args &args, RowNorm *results)
      : a(args), norms(results), per_head(ceil_div(args.row_count, kGroup)) {}

  void item(Rectangle<T> &r, int64_t part) const {
    r.start(a.row_start + part * kGroup, smaller<int64_t>(kGroup, a.row_count - part * kGroup));
    sum_far_rows(r);
    RowNorm *out = norms + r.number * a.row_count + part * kGroup;
    for (int64_t i = 0; i < r.rows; ++i)
      out[i] = {r.most[i], r.log_total[i]};
  }
};

inline bool any_far(const regard_args &a) {
  for (int64_t head = 0; head < a.batch * a.heads; ++head)
    for (int64_t i = 0; i < a.row_count; ++i)
      if (is_far(a.lse[head * a.queries + a.row_start + i]))
        return true;
  return false;
}

// A pass and the norms of its rows; null: they come from the lse.
template <class Pass> struct PassOver {
  const Pass &pass;
  const RowNorm *norms;

  int run() const {
    const regard_args &a = pass.a;
    const int64_t heads = a.batch * a.heads;
    const double cost = double(heads) * double(a.row_count) * double(a.column_count) *
                        (2.0 * double(a.head_dim) + 20.0);
    return regard::for_each_item(
        heads * pass.per_head, cost, Rectangle<typename Pass::Element>::bytes(a) + pass.bytes,
        [](int64_t number, unsigned char *scratch, const void *context) {
          const PassOver &own = *static_cast<const PassOver *>(context);
          const typename Rectangle<typename Pass::Element>::Products::InUse in_use;
          const Pass &pass = own.pass;
          Rectangle<typename Pass::Element> rectangle(pass.a, number / pass.per_head, own.norms,
                                                      scratch);
          // Causal rows grow, so the last items come first.
          pass.item(rectangle, pass.per_head - 1 - number % pass.per_head);
        },
        this);
  }
};

// Runs a pass: Pass<T>(args) says how many items a head has and what scratch
// they need, and does one.
template <class Pass> int run_pass(const regard_args &a) {
  const Pass pass(a);
  if (a.row_count == 0 || a.column_count == 0)
    return pass.nothing();
  if (!any_far(a))
    return PassOver<Pass>{pass, nullptr}.run();
  const size_t bytes = size_t(a.batch * a.heads * a.row_count) * sizeof(RowNorm);
  RowNorm *norms = static_cast<RowNorm *>(regard::allocate(bytes));
  if (!norms)
    return regard::fail(REGARD_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
  const NormPass<typename Pass::Element> first(a, norms);
  int code = PassOver<NormPass<typename Pass::Element>>{first, nullptr}.run();
  if (code == REGARD_OK)
    code = PassOver<Pass>{pass, norms}.run();
  regard::release(norms);
  return code;
}

template <template <class> class Look> int inspect(const regard_args &a) {
  return with_element(a.dtype, [&](auto element) {
    using T = decltype(element);
    return with_products<T>(a, Pass::kLook, [&](auto products) {
      return run_pass<Look<ReadAs<T, decltype(products)>>>(a);
    });
  });
}

} // namespace
