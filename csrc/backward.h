// The backward pass: gradients of queries, keys and values from the lse.
//
// An item of work is a strip of queries (a few groups of kGroup) of one head;
// it goes once over the blocks of keys that it sees. Queries are the lanes, as
// in the forward pass. For each block:
//   1. keys and values are packed;
//   2. for each group, a few keys at a time: scores and dP, from which P and
//      dS are made while they are in the nearest cache (backward_weights.h);
//   3. dQ, turned, grows by the keys times dS;
//   4. dV and dK grow by P and dS times dO and Q, over all groups at once, when
//      it is this item's turn (backward_order.h).
// Only runs of keys and quads of queries that see each other are computed.
#pragma once

#include "backward_bias.h"
#include "backward_order.h"

namespace {

constexpr int kMostStripGroups = 4;
constexpr int kMostBlockKeys = 192;
constexpr int kMostRuns = kMostBlockKeys / kSubBlock;
constexpr int64_t kSumsBytes = int64_t(24) << 20; // of dK and dV at a time

// How a call is cut, and where an item's scratch lies; sizes in bytes.
template <class T, class Products> struct BackwardLayout : Shape {
  static constexpr int kPer = Products::kPerUnit;
  static constexpr bool kPair = kPer == 2;

  int64_t groups; // of a strip
  int64_t key_units, value_units, key_stride, value_stride, key_width, value_width;
  bool key_direct, value_direct; // sums are the gradient itself
  bool alone;                    // chains of one item: sums live in its scratch
  int64_t sums_bytes;            // of one chain, outside the items
  int64_t group_bytes, area_bytes, pairs_bytes, bytes;

  explicit BackwardLayout(const regard_args &a) {
    groups = smaller<int64_t>(kPair ? 4 : 2, ceil_div(larger<int64_t>(a.queries, 1), kGroup));
    strip = groups * kGroup;
    block = kPair ? 128 : a.dropout > 0 ? 128 : 96;
    strips = ceil_div(a.queries, strip);
    blocks = ceil_div(a.keys, block);
    shared = a.heads / larger<int64_t>(a.kv_heads, 1);
    key_units = ceil_div(a.head_dim, kPer);
    value_units = ceil_div(a.value_dim, kPer);
    key_stride = round_up(key_units, kLanes);
    value_stride = round_up(value_units, kLanes);
    key_width = round_up(a.head_dim, kLanes);
    value_width = round_up(a.value_dim, kLanes);
    constexpr bool kFloat = sizeof(T) == sizeof(float);
    key_direct = kFloat && key_width == a.head_dim;
    value_direct = kFloat && value_width == a.value_dim;
    alone = chain() <= 1;
    const int64_t key_sums = key_direct ? 0 : key_width, value_sums = value_direct ? 0 : value_width;
    sums_bytes = alone ? 0 : a.keys * (key_sums + value_sums) * 4;
    group_bytes = (key_units + value_units + a.head_dim) * kGroup * 4;
    area_bytes = block * kGroup * 4 / kPer;
    pairs_bytes = kPair ? block / 2 * kGroup * 4 : 0;
    bytes = groups * (group_bytes + 2 * area_bytes + pairs_bytes) +
            strip / kPer * (key_width + value_width) * 4 +   // panels of Q and dO
            block * (key_stride + value_stride) * 4 +        // keys and values
            (kPair ? block / 2 * key_width * 4 : 0) +        // keys in pairs
            (alone ? block * (key_sums + value_sums) * 4 : 0) +
            3 * kStrip * kGroup * 4 +                        // scores, dP, slopes
            (a.grad_position_bias ? round_up(DiagonalSums::length(strip, a.keys), 16) * 4 : 0);
  }
};

template <class T> struct Floats {
  static REGARD_INLINE Rows<float> rows(Rows<T>) { return {nullptr, 0}; }
};
template <> struct Floats<float> {
  static REGARD_INLINE Rows<float> rows(Rows<float> x) { return x; }
};

// Where dK or dV of one key/value head is summed, and where it goes.
template <class T> struct Gradient {
  Rows<T> out;
  float *sums; // null: in `out`
  int64_t width, stride;
  bool of_block; // sums hold one block

  Rows<float> block(int64_t key) const {
    if (!sums)
      return {Floats<T>::rows(out)[key], Floats<T>::rows(out).stride};
    return {of_block ? sums : sums + key * stride, stride};
  }
  void start(int64_t begin, int64_t end) const {
    const Rows<float> rows = block(begin);
    for (int64_t j = 0; j < end - begin; ++j)
      for (int64_t e = 0; e < stride; e += kLanes)
        store(rows[j] + e, Vec{});
  }
  void finish(int64_t begin, int64_t end) const {
    if (!sums)
      return;
    const Rows<float> rows = block(begin);
    for (int64_t j = begin; j < end; ++j)
      for (int64_t e = 0; e < width; e += kLanes)
        store_elements(out[j] + e, load(rows[j - begin] + e),
                       int(smaller<int64_t>(kLanes, width - e)));
  }
};

template <class T, class Products> struct BackwardItem;

template <class T, class Products> struct Backward {
  const regard_args &a;
  const BackwardLayout<T, Products> layout;
  const Dropout dropout;
  const Reach &reach;
  int32_t *progress;           // of the items of a wave
  int32_t *turn;               // of the gradient of the position bias
  unsigned char *sums;         // of the chains of a wave
  int64_t chains, first_chain; // of a wave

  static void item(int64_t number, unsigned char *scratch, const void *context) {
    const Backward &all = *static_cast<const Backward *>(context);
    const int64_t chain = all.first_chain + number % all.chains;
    const int64_t b = chain / all.a.kv_heads, g = chain % all.a.kv_heads;
    const Chain order{all.reach,
                      all.layout,
                      b,
                      g * all.layout.shared,
                      all.progress + number % all.chains,
                      all.chains};
    BackwardItem<T, Products>(all, order, number, g, scratch).run();
  }
};

template <class T, class Products> struct BackwardItem {
  using Unit = typename Products::Unit;
  static constexpr int kPer = Products::kPerUnit;
  static constexpr bool kPair = kPer == 2;

  struct Group {
    Visible visible;
    RowStatistics rows;
    int64_t row, count; // first query, queries
    bool finite;        // its Q and dO
    Unit *query, *grad_output; // turned
    float *grad_query;         // turned
    Unit *weights, *grad_scores; // [key][kGroup], pairs of queries
    Unit *grad_pairs;            // [key pair][kGroup]; else the same as grad_scores
    Run runs[kMostRuns];
    int run_count;
  };

  const Backward<T, Products> &all;
  const regard_args &a;
  const BackwardLayout<T, Products> &layout;
  const Chain &chain;
  const int64_t number, place, b, h; // place: in the chain
  const int64_t row;                 // first query
  const Scoring scoring;
  const Block<T> query, key, value, output, grad_output;
  Gradient<T> grad_key, grad_value;
  int64_t groups;
  Group group[kMostStripGroups];
  Unit *query_panels, *grad_panels, *keys, *values, *key_pairs;
  float *scores, *products, *slopes;
  DiagonalSums diagonals;
  bool keys_finite;
  Share shares[kMostRuns][kMostStripGroups];
  uint64_t keep[kMostBlockKeys];

  BackwardItem(const Backward<T, Products> &backward, const Chain &order, int64_t item, int64_t g,
               unsigned char *scratch)
      : all(backward), a(backward.a), layout(backward.layout), chain(order), number(item),
        place(item / backward.chains), b(order.batch), h(order.head_of(place)),
        row(order.strip_of(place) * layout.strip), scoring(a, b, h),
        query{rows_of<const T>(a.query, b, h), a.queries, a.head_dim},
        key{rows_of<const T>(a.key, b, g), a.keys, a.head_dim},
        value{rows_of<const T>(a.value, b, g), a.keys, a.value_dim},
        output{rows_of<const T>(a.output, b, h), a.queries, a.value_dim},
        grad_output{rows_of<const T>(a.grad_output, b, h), a.queries, a.value_dim} {
    lay_out(scratch, g);
  }

  void run() {
    const Touched touched = chain.touched(place);
    if (place == 0)
      clear_untouched();
    if (a.grad_bias.data)
      clear_matrix_rows(a, b, h, row, smaller(layout.strip, a.queries - row));
    for (int64_t i = 0; i < groups; ++i)
      start_group(group[i], int(i));
    for (int32_t block = touched.begin; block < touched.end; ++block)
      run_block(block);
    chain.done(place, INT32_MAX);
    for (int64_t i = 0; i < groups; ++i)
      write_turned(group[i].grad_query, 1.0f, group[i].count, a.head_dim,
                   Rows<T>{rows_of<T>(a.grad_query, b, h)[group[i].row], a.grad_query.row});
    if (a.grad_position_bias)
      add_diagonals();
  }

private:
  void lay_out(unsigned char *at, int64_t g) {
    const auto take = [&](int64_t bytes) {
      unsigned char *taken = at;
      at += bytes;
      return taken;
    };
    groups = ceil_div(smaller(layout.strip, a.queries - row), kGroup);
    // Areas of all groups lie behind each other: PanelProduct steps over them.
    unsigned char *weights = take(layout.groups * layout.area_bytes);
    unsigned char *grad_scores = take(layout.groups * layout.area_bytes);
    unsigned char *pairs = kPair ? take(layout.groups * layout.pairs_bytes) : grad_scores;
    const int64_t pairs_bytes = kPair ? layout.pairs_bytes : layout.area_bytes;
    for (int64_t i = 0; i < layout.groups; ++i) {
      group[i].weights = reinterpret_cast<Unit *>(weights + i * layout.area_bytes);
      group[i].grad_scores = reinterpret_cast<Unit *>(grad_scores + i * layout.area_bytes);
      group[i].grad_pairs = reinterpret_cast<Unit *>(pairs + i * pairs_bytes);
      group[i].query = reinterpret_cast<Unit *>(take(layout.key_units * kGroup * 4));
      group[i].grad_output = reinterpret_cast<Unit *>(take(layout.value_units * kGroup * 4));
      group[i].grad_query = reinterpret_cast<float *>(take(a.head_dim * kGroup * 4));
    }
    query_panels = reinterpret_cast<Unit *>(take(layout.strip / kPer * layout.key_width * 4));
    grad_panels = reinterpret_cast<Unit *>(take(layout.strip / kPer * layout.value_width * 4));
    keys = reinterpret_cast<Unit *>(take(layout.block * layout.key_stride * 4));
    values = reinterpret_cast<Unit *>(take(layout.block * layout.value_stride * 4));
    key_pairs = kPair ? reinterpret_cast<Unit *>(take(layout.block / 2 * layout.key_width * 4)) : keys;
    scores = reinterpret_cast<float *>(take(kStrip * kGroup * 4));
    products = reinterpret_cast<float *>(take(kStrip * kGroup * 4));
    slopes = reinterpret_cast<float *>(take(kStrip * kGroup * 4));

    grad_key = {rows_of<T>(a.grad_key, b, g), nullptr, a.head_dim, layout.key_width, layout.alone};
    grad_value = {rows_of<T>(a.grad_value, b, g), nullptr, a.value_dim, layout.value_width,
                  layout.alone};
    const int64_t sums_rows = layout.alone ? layout.block : a.keys;
    float *sums = layout.alone
                      ? reinterpret_cast<float *>(at)
                      : reinterpret_cast<float *>(all.sums + number % all.chains * layout.sums_bytes);
    float *after = sums;
    if (!layout.key_direct) {
      grad_key.sums = after;
      after += sums_rows * layout.key_width;
    }
    if (!layout.value_direct) {
      grad_value.sums = after;
      after += sums_rows * layout.value_width;
    }
    if (layout.alone)
      at = reinterpret_cast<unsigned char *>(after);
    diagonals = {a.grad_position_bias ? reinterpret_cast<float *>(at) : nullptr, a.keys};
    if (diagonals.sums)
      __builtin_memset(diagonals.sums, 0, size_t(DiagonalSums::length(layout.strip, a.keys)) * 4);
  }

  // Gradients of keys that nobody sees.
  void clear_untouched() {
    for (int32_t block = 0; block < layout.blocks; ++block)
      if (chain.untouched(block)) {
        const int64_t begin = block * layout.block, end = smaller(begin + layout.block, a.keys);
        zero_rows(grad_key.out, begin, end, a.head_dim);
        zero_rows(grad_value.out, begin, end, a.value_dim);
      }
  }

  void start_group(Group &x, int i) {
    x.row = row + i * kGroup;
    x.count = smaller<int64_t>(kGroup, a.queries - x.row);
    x.visible.read(a, b, h, x.row);
    __builtin_memset(x.grad_query, 0, size_t(a.head_dim) * kGroup * 4);
    if (x.visible.begin >= x.visible.end)
      return;
    const Block<T> q = query.from(x.row, kGroup), d = grad_output.from(x.row, kGroup);
    pack_turned<Products>(q, x.query);
    pack_turned<Products>(d, x.grad_output);
    pack_panels<Products>(q, layout.strip / kPer, query_panels, i * kGroup / kPer);
    pack_panels<Products>(d, layout.strip / kPer, grad_panels, i * kGroup / kPer);
    x.finite = all_finite(q) && all_finite(d);
    const int64_t at = (b * a.heads + h) * a.queries + x.row;
    for (int64_t lane = 0; lane < kGroup; ++lane) {
      const bool real = lane < x.count;
      const float lse = real ? a.lse[at + lane] : kInfinity;
      x.rows.lse[lane] = lse == -kInfinity ? 0.0f : lse * kLog2E;
      x.rows.delta[lane] =
          real ? row_product(output.data[x.row + lane], grad_output.data[x.row + lane], a.value_dim) -
                     (a.grad_lse ? a.grad_lse[at + lane] : 0.0f)
               : 0.0f;
    }
  }

  void run_block(int32_t block) {
    const int32_t begin = int32_t(block * layout.block);
    const int32_t end = int32_t(smaller<int64_t>(begin + layout.block, a.keys));
    const Block<T> k = key.from(begin, end - begin);
    pack_rows<Products>(k, layout.key_stride, keys);
    pack_rows<Products>(value.from(begin, end - begin), layout.value_stride, values);
    if constexpr (kPair)
      pack_down<Products>(k, layout.key_width, key_pairs);
    bool cut = false;
    for (int64_t i = 0; i < groups; ++i)
      cut |= plan(group[i], begin, end);
    keys_finite = !cut || all_finite(k);
    __builtin_memset(shares, 0, sizeof shares);

    // The sums of this block are needed from here on where runs are careful.
    const int64_t before = chain.neighbour(place, block, -1);
    bool ours = false;
    const auto enter = [&] {
      if (ours)
        return;
      ours = true;
      if (before >= 0)
        chain.wait(before, block);
      else {
        grad_key.start(begin, end);
        grad_value.start(begin, end);
      }
    };
    for (int64_t i = 0; i < groups; ++i)
      for (int r = 0; r < group[i].run_count; ++r)
        run_keys(group[i], int(i), group[i].runs[r], begin, enter);
    enter();
    add_panels(begin, end);
    if (chain.neighbour(place, block, 1) < 0) {
      grad_key.finish(begin, end);
      grad_value.finish(begin, end);
    }
    chain.done(place, block + 1);
  }

  bool plan(Group &x, int32_t begin, int32_t end) {
    const int32_t from = larger<int32_t>(begin, x.visible.begin / kSubBlock * kSubBlock);
    const int32_t to =
        smaller<int32_t>(end, int32_t(round_up(x.visible.end, kSubBlock)));
    x.run_count = from < to ? x.visible.plan(from, to, x.runs) : 0;
    bool cut = scoring.masks || scoring.position_bias;
    for (int r = 0; r < x.run_count; ++r)
      cut |= x.runs[r].cut;
    return cut;
  }

  // Passes 2 and 3 for the keys of one run.
  template <class Enter>
  void run_keys(Group &x, int i, const Run &run, int32_t block_begin, const Enter &enter) {
    const bool cut = run.cut || scoring.masks || scoring.position_bias;
    const bool careful = cut && !(x.finite && keys_finite);
    const bool rich = a.grad_bias.data || diagonals.sums || scoring.softcap > 0;
    const int32_t first = run.begin - block_begin, last = run.end - block_begin;
    if (careful)
      enter();
    if (a.dropout > 0)
      keep_bits(all.dropout, x.row, uint32_t(b * a.heads + h), run.begin, run.end, block_begin, keep);
    Strip strip;
    strip.begin = run.quad_begin * kQuadVectors;
    strip.end = run.quad_end * kQuadVectors;
    strip.factor = scoring.remaining();
    strip.scale = rich ? 1.0f : float(a.scale);
    strip.kept = all.dropout.factor;
    for (int32_t at = first; at < last; at += kStrip) {
      strip.count = int(smaller<int32_t>(kStrip, last - at));
      strip.keep = keep + at;
      strip.scores = kPair || careful ? scores : reinterpret_cast<float *>(x.weights) + at * kGroup;
      strip.products =
          kPair || careful ? products : reinterpret_cast<float *>(x.grad_scores) + at * kGroup;
      row_products<Products>(keys + at * layout.key_stride, layout.key_stride, strip.count, x.query,
                             layout.key_units, strip.begin, strip.end, strip.scores);
      row_products<Products>(values + at * layout.value_stride, layout.value_stride, strip.count,
                             x.grad_output, layout.value_units, strip.begin, strip.end,
                             strip.products);
      if (scoring.softcap > 0)
        slopes_of_strip(strip, scoring.softcap_factor, slopes);
      if (run.cut || !scoring.plain) {
        const Run part{block_begin + at, block_begin + at + strip.count, run.quad_begin,
                       run.quad_end, run.cut};
        finish_scores(scoring, x.visible, part, x.row, block_begin + at, strip.scores);
      }
      const Visibility visible = careful ? Visibility(strip) : Visibility{};
      weights_of<kPair>(cut, a.dropout > 0, strip, x.rows);
      if (rich) {
        const int64_t j = block_begin + at;
        if (a.grad_bias.data)
          write_bias_gradient(a, strip, b, h, x.row, j);
        if (diagonals.sums)
          diagonals.add(strip, i * kGroup, x.count, j);
        scale_strip(strip, float(a.scale), scoring.softcap > 0 ? slopes : nullptr);
      }
      if (careful)
        add_carefully(x, strip, visible, block_begin, at);
      else
        keep_strip(x, strip, at);
    }
    if (careful)
      return;
    column_products<Products>(key_pairs + first / kPer * layout.key_width_units(),
                              layout.key_width_units(), a.head_dim,
                              x.grad_pairs + first / kPer * kGroup, ceil_div(last - first, kPer),
                              strip.begin, strip.end, x.grad_query);
    const int32_t lanes_end =
        smaller(run.quad_end * kQuad, int32_t(round_up(x.count, kPer)));
    for (int32_t s = first / kSubBlock; s * kSubBlock < last; ++s)
      shares[s][i] = {run.quad_begin * kQuad / kPer, lanes_end / kPer};
  }
};

} // namespace
