// Gradients of linear attention (linear.h). With n_i the sums before division,
// t_i their last entry and G_i = dO_i / t_i, the gradient of (n_i, t_i) is
// (G_i, T_i), and
//
//   dphi(q_i) = sum over seen j of (G_i . v_j + T_i) phi(k_j)
//   dphi(k_j) = sum over i that see j of (G_i . v_j + T_i) phi(q_i)
//   dv_j      = sum over i that see j of (phi(q_i) . phi(k_j)) G_i
//
// T_i = -G_i . o_i + dt_i needs no output: it is -phi(q_i) . (the part of
// dphi(q_i) that has no T_i) / t_i, in full precision. The first pass walks the
// rows as the forward pass does and leaves 1 / t_i and T_i; the second walks the
// keys from the last block to the first, with the sum over the rows that see
// all of a block as its state. Nothing is kept from the forward pass.
#pragma once

#include "linear.h"

namespace {

// What the first pass leaves for the second, (B, H, L) each.
struct RowFactors {
  float *inverse, *of_total;
};

template <class T>
void query_gradients(const LinearCall &c, const float *partial, const RowFactors &factors, int64_t item,
                     int64_t stretches, int64_t stretch, Areas areas) {
  const regard_linear_args &a = c.a;
  const int64_t matrix = item / stretches, b = matrix / a.kv_heads, g = matrix % a.kv_heads;
  const int64_t first = item % stretches * stretch, last = smaller(first + stretch, a.queries);
  if (first >= last)
    return;
  KeyBlock<T> block(c, b, g, areas);
  const State state{areas.take(c.features * c.vp), areas.take(c.fp)};
  // The state turned, (Ev, fp): here the sum runs over the values.
  float *sums = areas.take(c.vp * c.fp);
  float *phi = areas.take(kStep * c.fp), *running = areas.take((kStep + 1) * c.fp), *d = areas.take(kStep * c.fp);
  float *turned = areas.take(c.vp * kStep), *grad = areas.take(kStep * c.vp), *weights = areas.take(kStep * kStep);
  __builtin_memset(phi, 0, size_t(kStep * c.fp) * sizeof(float));
  __builtin_memset(grad, 0, size_t(kStep * c.vp) * sizeof(float));
  const int64_t done = start_state(c, partial, matrix, c.block(first), state);
  __builtin_memset(sums, 0, size_t(c.vp * c.fp) * sizeof(float));
  turn(state.sums, c.vp, c.features, c.vp, sums, c.fp);
  walk_rows<T>(
      c, done, first, last, block,
      [&] {
        LinearProduct{block.v, block.phi, c.vp, c.fp, block.n, sums, c.fp, true}.run<Along::kAcross>(a.value_dim, c.fp);
        add_sum(state.ones, block.phi, block.n, c.fp, once);
      },
      [&](int64_t inside) {
        running_ones(c, state.ones, block.phi, inside, running);
        if (inside)
          turn(block.v, c.vp, inside, c.vp, turned, kStep);
      },
      [&](int64_t h, int64_t row, int64_t n, int64_t from, int64_t inside) {
        const int64_t head = g * c.group + h, at = (b * a.heads + head) * a.queries + row;
        const Rows<const T> query = rows_of<const T>(a.query, b, head);
        const Rows<const T> given = rows_of<const T>(a.grad_output, b, head);
        const Rows<T> to = rows_of<T>(a.grad_query, b, head);
        for (int64_t i = 0; i < n; ++i) {
          features_of(query[row + i], a.head_dim, a.feature_map, phi + i * c.fp);
          const float total = dot(phi + i * c.fp, running + (c.stop(row + i) - from) * c.fp, c.fp);
          factors.inverse[at + i] = total == 0 ? 1.0f : 1.0f / total;
          // Without weights the output is no quotient.
          factors.of_total[at + i] = total == 0 ? 0.0f : 1.0f;
          for (int64_t u = 0; u < a.value_dim; u += kLanes) {
            const int some = int(smaller<int64_t>(a.value_dim - u, kLanes));
            store_elements(grad + i * c.vp + u,
                           load_elements(given[row + i] + u, some) * splat(factors.inverse[at + i]), some);
          }
        }
        LinearProduct{grad, sums, c.vp, c.fp, a.value_dim, d, c.fp, false}.run<Along::kRows>(n, c.fp);
        if (inside) {
          LinearProduct{grad, turned, c.vp, kStep, a.value_dim, weights, kStep, false}.run<Along::kRows>(
              n, round_up(inside, kLanes));
          hide_ahead(c, row, n, from, inside, weights);
          add_inside(c, row, n, from, weights, block.phi, c.fp, d);
        }
        for (int64_t i = 0; i < n; ++i) {
          float *of_total = factors.of_total + at + i;
          *of_total *= -dot(phi + i * c.fp, d + i * c.fp, c.fp) * factors.inverse[at + i];
          if (a.grad_totals)
            *of_total += a.grad_totals[at + i];
          const float *ones = running + (c.stop(row + i) - from) * c.fp;
          for (int64_t u = 0; u < c.fp; u += kLanes)
            store(d + i * c.fp + u, multiply_add(splat(*of_total), load(ones + u), load(d + i * c.fp + u)));
          gradient_of(query[row + i], phi + i * c.fp, a.head_dim, a.feature_map, d + i * c.fp, to[row + i]);
        }
      });
}

// Up to kStep rows of one head, as the second pass reads them.
template <class T> struct QueryBlock {
  const LinearCall &c;
  const RowFactors &factors;
  int64_t b;
  float *phi, *grad;        // (kStep, fp), (kStep, vp): features, and G
  const float *of_total = nullptr; // T
  int64_t head = -1, at = -1, n = 0;

  QueryBlock(const LinearCall &call, const RowFactors &f, int64_t batch, Areas &areas)
      : c(call), factors(f), b(batch), phi(areas.take(kStep * call.fp)), grad(areas.take(kStep * call.vp)) {
    __builtin_memset(phi, 0, size_t(kStep * c.fp) * sizeof(float));
    __builtin_memset(grad, 0, size_t(kStep * c.vp) * sizeof(float));
  }
  void load(int64_t h, int64_t row, int64_t count) {
    if (head == h && at == row && n == count)
      return;
    head = h, at = row, n = count;
    const Rows<const T> query = rows_of<const T>(c.a.query, b, h), given = rows_of<const T>(c.a.grad_output, b, h);
    const int64_t first = (b * c.a.heads + h) * c.a.queries + row;
    of_total = factors.of_total + first;
    for (int64_t i = 0; i < n; ++i) {
      features_of(query[row + i], c.a.head_dim, c.a.feature_map, phi + i * c.fp);
      for (int64_t u = 0; u < c.a.value_dim; u += kLanes) {
        const int some = int(smaller<int64_t>(c.a.value_dim - u, kLanes));
        store_elements(grad + i * c.vp + u, load_elements(given[row + i] + u, some) * splat(factors.inverse[first + i]),
                       some);
      }
    }
  }
};

// Adds the rows [first, last) of a key head's queries to a state: sum phi(q) G, sum phi(q) T.
template <class T>
inline void add_rows(const LinearCall &c, QueryBlock<T> &rows, int64_t g, int64_t first, int64_t last, const State &to) {
  for (int64_t h = g * c.group; h < (g + 1) * c.group; ++h)
    for (int64_t row = first; row < last; row += kStep) {
      rows.load(h, row, smaller(kStep, last - row));
      LinearProduct{rows.phi, rows.grad, c.fp, c.vp, rows.n, to.sums, c.vp, true}.template run<Along::kAcross>(c.features, c.vp);
      add_sum(to.ones, rows.phi, rows.n, c.fp, [&](int64_t i) { return rows.of_total[i]; });
    }
}

// The rows that stop in part p of the keys; those that see all keys are part `parts`.
template <class T>
void sum_rows_part(const LinearCall &c, const RowFactors &factors, float *partial, int64_t item, Areas areas) {
  const int64_t p = item % (c.parts + 1), matrix = item / (c.parts + 1);
  QueryBlock<T> rows(c, factors, matrix / c.a.kv_heads, areas);
  float *to = partial + item * c.state_floats();
  __builtin_memset(to, 0, size_t(c.state_floats()) * sizeof(float));
  const int64_t first = c.row_from(p == c.parts ? c.a.keys : p * c.part);
  const int64_t last = p == c.parts ? c.a.queries : c.row_from(smaller((p + 1) * c.part, c.a.keys));
  add_rows(c, rows, matrix % c.a.kv_heads, first, last, State{to, to + c.features * c.vp});
}

template <class T>
void key_gradients(const LinearCall &c, const float *partial, const RowFactors &factors, int64_t item, Areas areas) {
  const regard_linear_args &a = c.a;
  const int64_t p = item % c.parts, matrix = item / c.parts, b = matrix / a.kv_heads, g = matrix % a.kv_heads;
  const int64_t begin = p * c.part, end = smaller(begin + c.part, a.keys);
  if (begin >= end)
    return;
  KeyBlock<T> block(c, b, g, areas);
  QueryBlock<T> rows(c, factors, b, areas);
  const State state{areas.take(c.features * c.vp), areas.take(c.fp)};
  float *sums = areas.take(c.vp * c.fp); // the state turned
  float *turned_phi = areas.take(c.fp * kStep), *turned_v = areas.take(c.vp * kStep);
  float *dots = areas.take(kStep * kStep), *weights = areas.take(kStep * kStep);
  float *of_phi = areas.take(kStep * c.fp), *of_value = areas.take(kStep * c.vp);
  __builtin_memset(state.sums, 0, size_t(c.features * c.vp) * sizeof(float));
  __builtin_memset(state.ones, 0, size_t(c.fp) * sizeof(float));
  __builtin_memset(sums, 0, size_t(c.vp * c.fp) * sizeof(float));
  if (partial)
    for (int64_t later = p + 1; later <= c.parts; ++later) {
      const float *from = partial + (matrix * (c.parts + 1) + later) * c.state_floats();
      add_to(state.sums, from, c.features * c.vp);
      add_to(state.ones, from + c.features * c.vp, c.fp);
    }
  else
    add_rows(c, rows, g, c.row_from(a.keys), a.queries, state);
  bool changed = true;
  const Rows<T> to_key = rows_of<T>(a.grad_key, b, g), to_value = rows_of<T>(a.grad_value, b, g);
  for (int64_t key = (end - 1) / kStep * kStep; key >= begin; key -= kStep) {
    block.load(key);
    if (changed)
      turn(state.sums, c.vp, c.features, c.vp, sums, c.fp);
    for (int64_t i = 0; i < block.n; ++i)
      __builtin_memcpy(of_phi + i * c.fp, state.ones, size_t(c.fp) * sizeof(float));
    LinearProduct{block.v, sums, c.vp, c.fp, a.value_dim, of_phi, c.fp, true}.run<Along::kRows>(block.n, c.fp);
    LinearProduct{block.phi, state.sums, c.fp, c.vp, c.features, of_value, c.vp, false}.run<Along::kRows>(block.n, c.vp);
    // Rows that stop inside of the block see its keys one by one.
    const int64_t first = c.row_from(key), last = c.row_from(smaller(key + kStep, a.keys));
    if (first < last) {
      turn(block.phi, c.fp, block.n, c.fp, turned_phi, kStep);
      turn(block.v, c.vp, block.n, c.vp, turned_v, kStep);
    }
    const int64_t across = round_up(block.n, kLanes);
    for (int64_t h = g * c.group; h < (g + 1) * c.group; ++h)
      for (int64_t row = first; row < last; row += kStep) {
        rows.load(h, row, smaller(kStep, last - row));
        LinearProduct{rows.phi, turned_phi, c.fp, kStep, c.features, dots, kStep, false}.run<Along::kRows>(rows.n, across);
        for (int64_t i = 0; i < rows.n; ++i)
          for (int64_t j = 0; j < across; j += kLanes)
            store(weights + i * kStep + j, splat(rows.of_total[i]));
        LinearProduct{rows.grad, turned_v, c.vp, kStep, a.value_dim, weights, kStep, true}.run<Along::kRows>(rows.n, across);
        hide_ahead(c, row, rows.n, key, block.n, dots);
        hide_ahead(c, row, rows.n, key, block.n, weights);
        LinearProduct{dots, rows.grad, kStep, c.vp, rows.n, of_value, c.vp, true}.run<Along::kAcross>(block.n, c.vp);
        LinearProduct{weights, rows.phi, kStep, c.fp, rows.n, of_phi, c.fp, true}.run<Along::kAcross>(block.n, c.fp);
      }
    for (int64_t i = 0; i < block.n; ++i) {
      const bool lost = block.seen && !block.seen[key + i];
      if (lost) {
        __builtin_memset(of_phi + i * c.fp, 0, size_t(c.fp) * sizeof(float));
        __builtin_memset(of_value + i * c.vp, 0, size_t(c.vp) * sizeof(float));
        for (int64_t u = 0; u < a.head_dim; u += kLanes)
          store_elements(to_key[key + i] + u, Vec{}, int(smaller<int64_t>(a.head_dim - u, kLanes)));
      } else {
        gradient_of(block.key[key + i], block.phi + i * c.fp, a.head_dim, a.feature_map, of_phi + i * c.fp, to_key[key + i]);
      }
      for (int64_t u = 0; u < a.value_dim; u += kLanes)
        store_elements(to_value[key + i] + u, load(of_value + i * c.vp + u), int(smaller<int64_t>(a.value_dim - u, kLanes)));
    }
    changed = first < last;
    if (changed)
      add_rows(c, rows, g, first, last, state);
  }
}

template <class T> int run_linear_backward(const regard_linear_args &a, T) {
  const LinearCall c(a);
  const int64_t matrices = a.batch * a.kv_heads, rows = a.batch * a.heads * a.queries;
  int code;
  float *partial = sums_of_parts<T>(c, matrices, code);
  float *factors = static_cast<float *>(regard::allocate(size_t(larger<int64_t>(2 * rows, 1)) * sizeof(float)));
  const bool cut = c.parts > 1;
  float *of_rows = cut ? static_cast<float *>(regard::allocate(
                             size_t(matrices * (c.parts + 1) * c.state_floats()) * sizeof(float)))
                       : nullptr;
  if (code == REGARD_OK && (!factors || (cut && !of_rows)))
    code = regard::fail(REGARD_OUT_OF_MEMORY, "no memory for the sums of %lld rows", (long long)rows);
  const RowFactors of{factors, factors + rows};
  const double cost = 4.0 * double(a.batch * a.heads) * double(a.queries + a.keys) * double(c.features) * double(c.vp);
  const int64_t stretch = cut ? c.part : larger<int64_t>(a.queries, 1);
  const int64_t stretches = larger<int64_t>(ceil_div(a.queries, stretch), 1);
  const int64_t both = KeyBlock<T>::floats(c) + LinearRows::floats(c) + 2 * c.vp * c.fp + 4 * kStep * (c.fp + c.vp) +
                       kStep * kStep + 16 * 16;
  if (code == REGARD_OK)
    code = linear_items(matrices * stretches, cost, both, [&](int64_t item, Areas areas) {
      query_gradients<T>(c, partial, of, item, stretches, stretch, areas);
    });
  if (code == REGARD_OK && cut)
    code = linear_items(matrices * (c.parts + 1), cost / 2, both, [&](int64_t item, Areas areas) {
      sum_rows_part<T>(c, of, of_rows, item, areas);
    });
  if (code == REGARD_OK)
    code = linear_items(matrices * c.parts, cost, both, [&](int64_t item, Areas areas) {
      key_gradients<T>(c, of_rows, of, item, areas);
    });
  regard::release(partial);
  regard::release(factors);
  regard::release(of_rows);
  return code;
}

} // namespace
