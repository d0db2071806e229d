// One item of the backward pass: a strip of queries of one head, once over the
// blocks of keys that it sees. For each block:
//   1. keys and values are packed;
//   2. for each group, a few keys at a time: scores and dP, from which P and
//      dS are made while they are in the nearest cache (backward_weights.h);
//   3. dQ, turned, grows by the keys times dS;
//   4. dV and dK grow by P and dS times dO and Q, over all groups at once, when
//      it is this item's turn (backward_order.h).
// Only runs of keys and quads of queries that see each other are computed.
#pragma once

#include "backward_layout.h"

namespace {

// What the items of a wave share.
template <class T, class Products> struct BackwardCall {
  const regard_args &a;
  const BackwardLayout<T, Products> layout;
  const Dropout dropout;
  const Reach &reach;
  int32_t *progress;           // of each item
  int32_t *turn;               // whose diagonals are next
  unsigned char *sums;         // of each chain
  int64_t chains, first_chain;
};

template <class T, class Products> struct BackwardItem {
  using Unit = typename Products::Unit;
  static constexpr int kPer = Products::kPerUnit;
  static constexpr bool kPair = kPer == 2;
  static constexpr int kParts = Products::kParts;
  static constexpr int64_t kBytes = 4 * kParts; // of a unit
  static constexpr int kKeys = strip_keys<Products>();

  struct Group {
    Visible visible;
    RowStatistics rows;
    int64_t row, count; // first query, queries
    Unit *query, *grad_output; // turned
    float *grad_query;         // turned
    Unit *weights, *grad_scores; // [key][kGroup], pairs of queries
    Unit *grad_pairs;            // [key pair][kGroup]; else the same as grad_scores
    Run runs[kMostRuns];
    int run_count;
  };

  const BackwardCall<T, Products> &all;
  const regard_args &a;
  const BackwardLayout<T, Products> &layout;
  const Chain &chain;
  const int64_t number, place, b, h; // place: in the chain
  const int64_t row;                 // first query
  const Scoring scoring;
  const bool masks; // something besides the spans may hide keys
  const bool rich;  // dS is wanted before the scale
  const Block<T> query, key, value, output, grad_output;
  const Rows<Bfloat16> output_rest;
  Gradient<T> grad_key, grad_value;
  int64_t groups;
  Group group[kMostStripGroups];
  const bool keys_in_place, values_in_place;
  Unit *query_panels, *grad_panels, *packed_keys, *packed_values, *packed_pairs;
  Operand<Unit> keys, values, key_pairs; // of the block
  float *scores, *products, *slopes;
  DiagonalSums diagonals;
  bool finite;               // K of the block, Q and dO; asked only where something is hidden
  bool queries_known, queries_are_finite;
  Share shares[kMostRuns][kMostStripGroups];
  uint64_t keep[kMostBlockKeys];

  BackwardItem(const BackwardCall<T, Products> &backward, const Chain &order, int64_t item, int64_t g,
               unsigned char *scratch)
      : all(backward), a(backward.a), layout(backward.layout), chain(order), number(item),
        place(item / backward.chains), b(order.batch), h(order.head_of(place)),
        row(order.strip_of(place) * layout.strip), scoring(a, b, h),
        masks(scoring.masks()), rich(a.grad_bias.data || a.grad_position_bias || a.softcap > 0),
        query{rows_of<const T>(a.query, b, h), a.queries, a.head_dim},
        key{rows_of<const T>(a.key, b, g), a.keys, a.head_dim},
        value{rows_of<const T>(a.value, b, g), a.keys, a.value_dim},
        output{rows_of<const T>(a.output, b, h), a.queries, a.value_dim},
        grad_output{rows_of<const T>(a.grad_output, b, h), a.queries, a.value_dim},
        output_rest(output_rest_of(a, b, h)),
        keys_in_place(units_in_place<Products>(key)),
        values_in_place(units_in_place<Products>(value)) {
    queries_known = false;
    lay_out(scratch, g);
  }

  void run() {
    const Touched touched = chain.touched(place);
    if (place == 0)
      clear_untouched();
    if (a.grad_bias.data)
      clear_matrix_rows(a, b, h, row, smaller(layout.strip, a.queries - row));
    prefetch_rows(key, touched.begin * layout.block, layout.block);
    prefetch_rows(value, touched.begin * layout.block, layout.block);
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
      group[i].query = reinterpret_cast<Unit *>(take(layout.key_units * kGroup * kBytes));
      group[i].grad_output = reinterpret_cast<Unit *>(take(layout.value_units * kGroup * kBytes));
      group[i].grad_query = reinterpret_cast<float *>(take(round_up(a.head_dim, Products::kUnitStep) * kGroup * 4));
    }
    query_panels = reinterpret_cast<Unit *>(take(layout.strip / kPer * layout.key_width * kBytes));
    grad_panels = reinterpret_cast<Unit *>(take(layout.strip / kPer * layout.value_width * kBytes));
    packed_keys = reinterpret_cast<Unit *>(take(layout.block * layout.key_stride * kBytes));
    packed_values = reinterpret_cast<Unit *>(take(layout.block * layout.value_stride * kBytes));
    packed_pairs = reinterpret_cast<Unit *>(take(layout.turned_bytes));
    scores = reinterpret_cast<float *>(take(kStrip * kGroup * 4));
    products = reinterpret_cast<float *>(take(kStrip * kGroup * 4));
    slopes = reinterpret_cast<float *>(take(kStrip * kGroup * 4));

    grad_key = {rows_of<T>(a.grad_key, b, g), nullptr, a.head_dim, layout.key_width, layout.alone};
    grad_value = {rows_of<T>(a.grad_value, b, g), nullptr, a.value_dim, layout.value_width,
                  layout.alone};
    const int64_t sums_rows = layout.alone ? layout.block : layout.sums_rows;
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
    __builtin_memset(x.grad_query, 0, size_t(round_up(a.head_dim, Products::kUnitStep)) * kGroup * 4);
    if (x.visible.begin >= x.visible.end)
      return;
    const Block<T> q = query.from(x.row, kGroup), d = grad_output.from(x.row, kGroup);
    prefetch_rows(query, x.row, kGroup);
    // Straight through the rows first: that is how they come fastest.
    const int64_t at = (b * a.heads + h) * a.queries + x.row;
    uint64_t far = 0;
    for (int64_t lane = 0; lane < kGroup; ++lane) {
      const bool real = lane < x.count;
      const RowNorm norm = scoring.norm(real ? a.lse[at + lane] : kInfinity);
      x.rows.most[lane] = norm.most;
      x.rows.rest[lane] = norm.rest;
      far |= uint64_t(real && is_far(a.lse[at + lane])) << lane;
      x.rows.delta[lane] = real ? delta(x.row + lane) : 0.0f;
      if (real && a.grad_lse)
        x.rows.delta[lane] -= a.grad_lse[at + lane];
    }
    pack_turned<Products>(q, x.query);
    pack_turned<Products>(d, x.grad_output);
    pack_panels<Products>(q, layout.strip / kPer, i * kGroup / kPer, query_panels);
    pack_panels<Products>(d, layout.strip / kPer, i * kGroup / kPer, grad_panels);
    if (far)
      weigh_anew(x, far);
  }

  float delta(int64_t i) const {
    const T *d = grad_output.data[i];
    const float rounded = row_product(output.data[i], d, a.value_dim);
    return output_rest.data ? rounded + row_product(output_rest[i], d, a.value_dim) : rounded;
  }

  // One more time through the keys for the lanes in `far`.
  void weigh_anew(Group &x, uint64_t far) {
    RowSums sums;
    for (int32_t begin = int32_t(x.visible.begin / layout.block * layout.block);
         begin < x.visible.end; begin += int32_t(layout.block)) {
      const int32_t end = int32_t(smaller<int64_t>(begin + layout.block, a.keys));
      prepare(begin, end);
      plan(x, begin, end);
      prepare_keep(x, begin);
      for (int r = 0; r < x.run_count; ++r) {
        const Run &run = x.runs[r];
        Strip strip = strip_of(run);
        for (int32_t key = run.begin; key < run.end; key += kKeys) {
          strip.count = int(smaller<int32_t>(kKeys, run.end - key));
          strip.keep = keep + (key - begin);
          score_strip(x, run, strip, key, false);
          add_strip(strip, a.dropout > 0, sums);
        }
      }
    }
    const int64_t at = (b * a.heads + h) * a.queries + x.row;
    for (int64_t lane = 0; lane < x.count; ++lane)
      if (far >> lane & 1) {
        const float total = sums.total[lane];
        x.rows.most[lane] = sums.most[lane] == -kInfinity ? 0.0f : sums.most[lane];
        x.rows.rest[lane] = total == 0 ? 0.0f : log2(splat(total))[0];
        x.rows.delta[lane] = total == 0 ? 0.0f : sums.products[lane] / total;
        if (a.grad_lse)
          x.rows.delta[lane] -= a.grad_lse[at + lane];
      }
  }

  void prepare_keep(const Group &x, int32_t block_begin) {
    if (a.dropout > 0 && x.run_count)
      keep_bits(all.dropout, x.row, uint32_t(b * a.heads + h), x.runs[0].begin,
                x.runs[x.run_count - 1].end, block_begin, keep);
  }

  Strip strip_of(const Run &run) const {
    Strip strip;
    strip.begin = run.quad_begin * kQuadVectors;
    strip.end = run.quad_end * kQuadVectors;
    strip.factor = scoring.remaining();
    strip.scale = rich ? 1.0f : float(a.scale);
    strip.kept = all.dropout.factor;
    strip.scores = scores;
    strip.products = products;
    return strip;
  }

  void run_block(int32_t block) {
    const int32_t begin = int32_t(block * layout.block);
    const int32_t end = int32_t(smaller<int64_t>(begin + layout.block, a.keys));
    prepare(begin, end);
    bool cut = false;
    for (int64_t i = 0; i < groups; ++i)
      cut |= plan(group[i], begin, end);
    // What has parts is finite.
    finite = kParts > 1 || !cut || (queries_finite() && all_finite(key.from(begin, end - begin)));
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
    for (int64_t i = 0; i < groups; ++i) {
      const Group &x = group[i];
      prepare_keep(x, begin);
      for (int r = 0; r < x.run_count; ++r)
        run_keys(x, int(i), x.runs[r], begin, enter);
    }
    enter();
    add_panels(begin, end);
    if (chain.neighbour(place, block, 1) < 0) {
      grad_key.finish(begin, end);
      grad_value.finish(begin, end);
    }
    chain.done(place, block + 1);
  }

  // Pass 1.
  void prepare(int32_t begin, int32_t end) {
    const Block<T> k = key.from(begin, end - begin), v = value.from(begin, end - begin);
    keys = {packed_keys, layout.key_stride, layout.block * layout.key_stride};
    values = {packed_values, layout.value_stride, layout.block * layout.value_stride};
    if (keys_in_place)
      keys = {reinterpret_cast<const Unit *>(k.data[0]), k.data.stride / kPer, 0};
    else
      copy_rows<T, Products>(k.data, 0, k.rows, k.width, keys.stride, keys.part, packed_keys);
    if (values_in_place)
      values = {reinterpret_cast<const Unit *>(v.data[0]), v.data.stride / kPer, 0};
    else
      copy_rows<T, Products>(v.data, 0, v.rows, v.width, values.stride, values.part, packed_values);
    key_pairs = keys;
    if constexpr (kPair) {
      key_pairs = {packed_pairs, layout.pairs_stride, layout.pairs_stride * layout.key_width};
      if constexpr (Products::kTiles)
        for (int part = 0; part < kParts; ++part)
          turn_values(k.data, 0, k.rows, k.width, layout.pairs_stride, part, packed_pairs + part * key_pairs.part);
      else
        pack_down<Products>(k, layout.key_width, packed_pairs);
    }
  }

  bool queries_finite() {
    if (!queries_known)
      queries_are_finite = all_finite(query.from(row, layout.strip)) &&
                           all_finite(grad_output.from(row, layout.strip));
    queries_known = true;
    return queries_are_finite;
  }

  bool plan(Group &x, int32_t begin, int32_t end) {
    const int32_t from = larger<int32_t>(begin, x.visible.begin / kSubBlock * kSubBlock);
    const int32_t to =
        smaller<int32_t>(end, int32_t(round_up(x.visible.end, kSubBlock)));
    x.run_count = from < to ? x.visible.plan(from, to, x.runs) : 0;
    bool cut = masks;
    for (int r = 0; r < x.run_count; ++r) {
      cut |= x.runs[r].cut;
      // Quads beyond the last query see what it sees, and need nothing.
      x.runs[r].quad_end = smaller(x.runs[r].quad_end, int32_t(ceil_div(x.count, kQuad)));
      cut |= pads(x, x.runs[r]);
    }
    return cut;
  }

  // Tiles go through queries and keys beyond a run, which weigh 0.
  bool pads(const Group &x, const Run &run) const {
    return Products::kTiles && (run.quad_begin > 0 || run.quad_end * kQuad < x.count ||
                                (run.end - run.begin) % 32 != 0);
  }

  // Passes 2 and 3 for the keys of one run.
  template <class Enter>
  void run_keys(const Group &x, int i, const Run &run, int32_t block_begin, const Enter &enter) {
    const bool cut = run.cut || masks;
    const bool careful = (cut || pads(x, run)) && !finite;
    const int32_t first = run.begin - block_begin, last = run.end - block_begin;
    if (careful)
      enter();
    Strip strip = strip_of(run);
    for (int32_t at = first; at < last; at += kKeys) {
      strip.count = int(smaller<int32_t>(kKeys, last - at));
      strip.keep = keep + at;
      if (!kPair && !careful) {
        strip.scores = reinterpret_cast<float *>(x.weights + at * kGroup);
        strip.products = reinterpret_cast<float *>(x.grad_scores + at * kGroup);
      }
      if (i == 0) { // the same rows of the next block, while there is time
        prefetch_rows(key, block_begin + layout.block + at, strip.count);
        prefetch_rows(value, block_begin + layout.block + at, strip.count);
      }
      uint64_t visible[kStrip];
      make_strip(x, i, run, strip, block_begin + at, cut, careful ? visible : nullptr);
      if (careful)
        add_carefully(x, strip, visible, block_begin + at);
      else
        keep_strip(x, strip, at);
    }
    if (careful)
      return;
    const int64_t part_units = layout.pairs_bytes / kBytes;
    if constexpr (Products::kTiles)
      for (int part = 0; part < kParts; ++part)
        for (int64_t u = ceil_div(last, 2); u < first / 2 + round_up(ceil_div(last - first, 2), 16); ++u)
          __builtin_memset(x.grad_pairs + part * part_units + u * kGroup, 0, kGroup * 4);
    const int64_t step = Products::kTiles ? 1 : key_pairs.stride;
    StripProducts<Products>::along_columns(
        {key_pairs.units + first / kPer * step, key_pairs.stride, key_pairs.part}, a.head_dim,
        {x.grad_pairs + first / kPer * kGroup, kGroup, part_units}, ceil_div(last - first, kPer), strip.begin,
        strip.end, x.grad_query);
    const int32_t lanes_end = smaller(run.quad_end * kQuad, int32_t(round_up(x.count, kPer)));
    for (int32_t s = first / kSubBlock; s * kSubBlock < last; ++s)
      shares[s][i] = {run.quad_begin * kQuad / kPer, lanes_end / kPer};
  }

  // The scores and dP of the keys from `begin` on.
  void score_strip(const Group &x, const Run &run, const Strip &strip, int32_t begin, bool softcap) {
    const int64_t at = begin % layout.block;
    StripProducts<Products>::along_rows({keys.units + at * keys.stride, keys.stride, keys.part}, strip.count,
                                        x.query, layout.key_units, strip.begin, strip.end, strip.scores);
    StripProducts<Products>::along_rows({values.units + at * values.stride, values.stride, values.part},
                                        strip.count, x.grad_output, layout.value_units, strip.begin, strip.end,
                                        strip.products);
    if (softcap)
      slopes_of_strip(strip, scoring.softcap_factor, slopes);
    if (run.cut || !scoring.plain) {
      const Run part{begin, begin + strip.count, run.quad_begin, run.quad_end, run.cut};
      finish_scores(scoring, x.visible, part, x.row, begin, strip.scores);
    }
  }

  // Pass 2 for the keys from `begin` on: P and dS.
  void make_strip(const Group &x, int i, const Run &run, const Strip &strip, int32_t begin, bool cut,
                  uint64_t *visible) {
    const bool softcap = scoring.softcap > 0;
    score_strip(x, run, strip, begin, softcap);
    if (visible)
      visible_bits(strip, x.count, visible);
    weights_of<kRoundsWeights<Products>>(cut, a.dropout > 0, strip, x.rows);
    if (!rich)
      return;
    if (a.grad_bias.data)
      write_bias_gradient(a, strip, b, h, x.row, begin);
    if (diagonals.sums)
      diagonals.add(strip, i * kGroup, x.count, begin);
    scale_strip(strip, float(a.scale), softcap ? slopes : nullptr);
  }

  // Leaves P and dS as the products over queries and over keys read them.
  void keep_strip(const Group &x, const Strip &strip, int64_t at) const {
    if constexpr (kPair) {
      const int64_t part = layout.block * kGroup; // in halves
      uint16_t *weights = reinterpret_cast<uint16_t *>(x.weights) + at * kGroup;
      uint16_t *grad_scores = reinterpret_cast<uint16_t *>(x.grad_scores) + at * kGroup;
      round_strip<kParts>(strip, strip.scores, weights, part, nullptr, 0);
      round_strip<kParts>(strip, strip.products, grad_scores, part, x.grad_pairs + at / 2 * kGroup,
                          layout.pairs_bytes / kBytes);
      for (int i = 0; Products::kTiles && i < kParts; ++i) {
        clear_left_out(strip, weights + i * part);
        clear_left_out(strip, grad_scores + i * part);
      }
    }
    (void)x, (void)strip, (void)at;
  }

  // All products of a strip, pair by pair: something in Q, dO or K is not
  // finite, and must not reach, times zero, what it is hidden from.
  void add_carefully(const Group &x, const Strip &strip, const uint64_t *visible, int32_t begin) {
    const int64_t in_block = begin % layout.block;
    const Rows<float> dk = grad_key.block(begin - in_block), dv = grad_value.block(begin - in_block);
    for (int r = 0; r < strip.count; ++r) {
      const T *k = key.data[begin + r];
      for (int64_t i = 0; i < x.count; ++i) {
        if (!(visible[r] >> i & 1))
          continue;
        add_scaled(strip.scores[r * kGroup + i], grad_output.data[x.row + i], a.value_dim,
                   dv[in_block + r]);
        add_scaled(strip.products[r * kGroup + i], query.data[x.row + i], a.head_dim,
                   dk[in_block + r]);
      }
      for (int v = strip.begin; v < strip.end; ++v) {
        const Int seen = lanes_of_bits(uint32_t(visible[r] >> (v * kLanes)));
        const Vec ds = load(strip.products + r * kGroup + v * kLanes);
        for (int64_t e = 0; e < a.head_dim; ++e) {
          float *at = x.grad_query + e * kGroup + v * kLanes;
          const Vec before = load(at);
          const Vec after = multiply_add(splat(load_elements(k + e, 1)[0]), ds, before);
          store(at, select(seen, after, before));
        }
      }
    }
  }

  // Pass 4: neighbouring keys seen by the same queries go together.
  void add_panels(int32_t begin, int32_t end) {
    const int64_t units = layout.strip / kPer, area = layout.area_bytes / 4;
    const PanelProduct<Products> dv{group[0].weights,     area,   grad_panels, units,
                                    groups, grad_value.block(begin)};
    const PanelProduct<Products> dk{group[0].grad_scores, area,   query_panels, units,
                                    groups, grad_key.block(begin)};
    const int count = int(ceil_div(end - begin, kSubBlock));
    for (int s = 0, next; s < count; s = next) {
      for (next = s + 1; next < count && same_shares(s, next);)
        ++next;
      const int64_t last = smaller<int64_t>(next * kSubBlock, end - begin);
      dv.run(layout.value_width / kLanes, shares[s], s * kSubBlock, last);
      dk.run(layout.key_width / kLanes, shares[s], s * kSubBlock, last);
    }
  }

  bool same_shares(int s, int t) const {
    for (int64_t i = 0; i < groups; ++i)
      if (!(shares[s][i] == shares[t][i]))
        return false;
    return true;
  }

  // Items add their diagonals one after the other, in order.
  void add_diagonals() const {
    regard::wait_for(all.turn, int32_t(number));
    diagonals.add_to(a.grad_position_bias + h * a.grad_position_bias_head, a.queries, row,
                     smaller(layout.strip, a.queries - row));
    regard::publish(all.turn, int32_t(number + 1));
  }
};

} // namespace
