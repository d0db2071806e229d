// Linear attention by plain loops in double, forward and backward: part of
// imitated_check.cpp.
#pragma once

#include "plain.h"

// The features of a row, and what turns their gradient into that of the row.
inline std::vector<double> mapped(const Numbers &x, int64_t from, int64_t width, int64_t map) {
  std::vector<double> phi;
  const auto at = [&](int64_t i) { return x[from + i]; };
  for (int64_t i = 0; i < width && map != REGARD_FEATURES_SOFTMAX; ++i)
    phi.push_back(map == REGARD_FEATURES_ELU    ? (at(i) > 0 ? at(i) + 1 : std::exp(at(i)))
                  : map == REGARD_FEATURES_RELU ? std::max(at(i), 0.0) + double(0.001f)
                                                : at(i));
  for (int sign = 1; sign >= -1 && map == REGARD_FEATURES_SOFTMAX; sign -= 2) {
    double total = 0;
    for (int64_t i = 0; i < width; ++i)
      total += std::exp(sign * at(i));
    for (int64_t i = 0; i < width; ++i)
      phi.push_back(std::exp(sign * at(i)) / total);
  }
  return phi;
}

inline void unmap(const Numbers &x, int64_t from, int64_t width, int64_t map, const std::vector<double> &phi,
                  const std::vector<double> &grad, double *to) {
  for (int64_t i = 0; i < width && map != REGARD_FEATURES_SOFTMAX; ++i) {
    const double slope = map == REGARD_FEATURES_ELU    ? (x[from + i] > 0 ? 1 : phi[size_t(i)])
                         : map == REGARD_FEATURES_RELU ? double(x[from + i] > 0)
                                                       : 1;
    to[i] += slope * grad[size_t(i)];
  }
  for (int64_t half = 0; half < 2 && map == REGARD_FEATURES_SOFTMAX; ++half) {
    double mean = 0;
    const size_t base = size_t(half * width);
    for (size_t i = 0; i < size_t(width); ++i)
      mean += phi[base + i] * grad[base + i];
    for (size_t i = 0; i < size_t(width); ++i)
      to[i] += (half ? -1 : 1) * phi[base + i] * (grad[base + i] - mean);
  }
}

// Compares one call with every feature map that its data allow; `compare(name, found, wanted, largest)` and `done(name, code)`.
template <class Compare, class Done>
void check_linear(const Call &c, int64_t map, const Compare &compare, const Done &done) {
  using Doubles = std::vector<double>;
  Numbers query = random_numbers(c.dtype, c.rows() * c.e), key = random_numbers(c.dtype, c.key_rows() * c.e),
          value = random_numbers(c.dtype, c.key_rows() * c.ev), given = random_numbers(c.dtype, c.rows() * c.ev),
          of_totals = random_numbers(REGARD_FLOAT32, c.rows());
  for (int64_t i = 0; map == REGARD_FEATURES_GIVEN && i < query.count(); ++i)
    query.set(i, float(std::fabs(query[i])));
  for (int64_t i = 0; map == REGARD_FEATURES_GIVEN && i < key.count(); ++i)
    key.set(i, float(std::fabs(key[i])));
  std::vector<int32_t, Memory<int32_t>> stops(size_t(c.n), int32_t(c.s));
  for (int64_t i = 0; c.has(kCausal) && i < c.n; ++i)
    stops[size_t(i)] = int32_t(std::min(std::max<int64_t>(i + c.s - c.n + 1, 0), c.s));
  std::vector<uint8_t, Memory<uint8_t>> seen(size_t(c.b * c.s), 1);
  for (int64_t j = 0; c.has(kMask) && j < c.b * c.s; ++j)
    seen[size_t(j)] = j % 5 != 3;

  Doubles output(size_t(c.rows() * c.ev), 0), totals(size_t(c.rows()), 0), grad_query(size_t(c.rows() * c.e), 0),
      grad_key(size_t(c.key_rows() * c.e), 0), grad_value(size_t(c.key_rows() * c.ev), 0);
  std::vector<Doubles> phi_key, of_key;
  for (int64_t j = 0; j < c.key_rows(); ++j) {
    phi_key.push_back(mapped(key, j * c.e, c.e, map));
    of_key.push_back(Doubles(phi_key.back().size(), 0));
  }
  double largest = 1; // sum of the terms of a gradient, without signs
  std::vector<Doubles> terms_of_key(of_key.size(), Doubles(of_key.empty() ? 0 : of_key[0].size(), 0));
  for (int64_t row = 0; row < c.rows(); ++row) {
    const Doubles phi = mapped(query, row * c.e, c.e, map);
    const int64_t first = c.shared(row) * c.s, batch = row / (c.h * c.n);
    const auto each = [&](const auto &f) {
      for (int64_t j = 0; j < stops[size_t(row % c.n)]; ++j)
        if (seen[size_t(batch * c.s + j)])
          f(first + j);
    };
    const auto weight = [&](int64_t j) {
      double sum = 0;
      for (size_t f = 0; f < phi.size(); ++f)
        sum += phi[f] * phi_key[size_t(j)][f];
      return sum;
    };
    double &total = totals[size_t(row)], *out = &output[size_t(row * c.ev)];
    each([&](int64_t j) {
      const double of_value = weight(j);
      total += of_value;
      for (int64_t u = 0; u < c.ev; ++u)
        out[u] += of_value * value[j * c.ev + u];
    });
    const double norm = total == 0 ? 1 : 1 / total;
    double of_total = of_totals[row];
    for (int64_t u = 0; u < c.ev; ++u) {
      out[u] *= norm;
      of_total -= total == 0 ? 0 : given[row * c.ev + u] * norm * out[u];
    }
    Doubles of_phi(phi.size(), 0), terms(phi.size(), 0);
    each([&](int64_t j) {
      double of_weight = of_total, without_signs = std::fabs(of_total);
      const double of_value = weight(j);
      for (int64_t u = 0; u < c.ev; ++u) {
        const double grad = given[row * c.ev + u] * norm, term = grad * value[j * c.ev + u];
        without_signs += std::fabs(term);
        of_weight += term;
        grad_value[size_t(j * c.ev + u)] += of_value * grad;
      }
      for (size_t f = 0; f < phi.size(); ++f) {
        terms[f] += without_signs * phi_key[size_t(j)][f];
        terms_of_key[size_t(j)][f] += without_signs * phi[f];
        of_phi[f] += of_weight * phi_key[size_t(j)][f];
        of_key[size_t(j)][f] += of_weight * phi[f];
      }
    });
    for (const double sum : terms)
      largest = std::max(largest, sum);
    unmap(query, row * c.e, c.e, map, phi, of_phi, &grad_query[size_t(row * c.e)]);
  }
  for (int64_t j = 0; j < c.key_rows(); ++j)
    unmap(key, j * c.e, c.e, map, phi_key[size_t(j)], of_key[size_t(j)], &grad_key[size_t(j * c.e)]);

  regard_linear_args a = {};
  int32_t strange = 0;
  a.size = sizeof a;
  a.dtype = c.dtype, a.feature_map = map, a.batch = c.b, a.heads = c.h, a.kv_heads = c.g;
  a.queries = c.n, a.keys = c.s, a.head_dim = c.e, a.value_dim = c.ev, a.strange = &strange;
  const auto rows = [](Numbers &x, int64_t heads, int64_t count, int64_t width) -> regard_rows {
    return {x.data(), heads * count * width, count * width, width};
  };
  a.query = rows(query, c.h, c.n, c.e), a.key = rows(key, c.g, c.s, c.e), a.value = rows(value, c.g, c.s, c.ev);
  a.stops = c.has(kCausal) ? stops.data() : nullptr;
  a.seen = c.has(kMask) ? seen.data() : nullptr, a.seen_batch = c.s;
  Numbers found(c.dtype, c.rows() * c.ev), found_totals(REGARD_FLOAT32, c.rows());
  a.output = rows(found, c.h, c.n, c.ev), a.totals = found_totals.floats();
  done("linear_forward", regard_linear_forward(&a));
  compare("linear output", found, output, 1);
  compare("linear totals", found_totals, totals, 1);
  Numbers of_query(c.dtype, query.count()), of_keys(c.dtype, key.count()), of_values(c.dtype, value.count());
  a.grad_output = rows(given, c.h, c.n, c.ev), a.grad_totals = of_totals.floats();
  a.grad_query = rows(of_query, c.h, c.n, c.e), a.grad_key = rows(of_keys, c.g, c.s, c.e);
  a.grad_value = rows(of_values, c.g, c.s, c.ev);
  done("linear_backward", regard_linear_backward(&a));
  for (const Doubles &terms : terms_of_key)
    for (const double sum : terms)
      largest = std::max(largest, sum);
  compare("linear grad_query", of_query, grad_query, largest);
  compare("linear grad_key", of_keys, grad_key, largest);
  compare("linear grad_value", of_values, grad_value, 1);
  done("a finite call that is called strange", strange ? REGARD_INTERNAL : REGARD_OK);
}
