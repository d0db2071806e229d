// The backward pass: gradients of queries, keys and values, from the lse that
// the forward pass left. What one item of work does is in backward_item.h, how
// items follow each other in backward_order.h.
#pragma once

#include "backward_item.h"
#include "parts_range.h"

namespace {

constexpr int64_t kSumsBytes = int64_t(24) << 20; // of dK and dV at a time

template <class T, class Products>
void backward_item(int64_t number, unsigned char *scratch, const void *context) {
  const typename Products::InUse in_use;
  const auto &all = *static_cast<const BackwardCall<T, Products> *>(context);
  const int64_t local = number % all.chains, chain = all.first_chain + local;
  const int64_t b = chain / all.a.kv_heads, g = chain % all.a.kv_heads;
  const Chain order{all.reach,  all.layout, b, g * all.layout.shared, all.progress + local,
                    all.chains};
  BackwardItem<T, Products>(all, order, number, g, scratch).run();
}

// Keys and values of a call without queries.
template <class T> void clear_key_gradients(const regard_args &a) {
  for (int64_t b = 0; b < a.batch; ++b)
    for (int64_t g = 0; g < a.kv_heads; ++g) {
      zero_rows(rows_of<T>(a.grad_key, b, g), 0, a.keys, a.head_dim);
      zero_rows(rows_of<T>(a.grad_value, b, g), 0, a.keys, a.value_dim);
    }
}

inline void clear_position_gradient(const regard_args &a) {
  const int64_t heads = a.grad_position_bias_head ? a.heads : 1;
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < a.queries + a.keys - 1; ++i)
      a.grad_position_bias[h * a.grad_position_bias_head + i] = 0;
}

template <class T, class Products> int run_backward_with(const regard_args &a) {
  const BackwardLayout<T, Products> layout(a);
  if (a.grad_position_bias)
    clear_position_gradient(a);
  const int64_t chains = a.batch * a.kv_heads;
  if (layout.chain() == 0 || chains == 0) {
    clear_key_gradients<T>(a);
    return REGARD_OK;
  }
  int64_t wave = chains;
  if (layout.sums_bytes)
    wave = smaller(chains, larger<int64_t>(1, kSumsBytes / layout.sums_bytes));

  // Sums, then the reach of the strips, then counters.
  const int64_t sums_bytes = round_up(wave * layout.sums_bytes, 64);
  const int64_t reach_bytes = Reach::count(a, layout) * int64_t(sizeof(Touched));
  const int64_t items = wave * layout.chain();
  unsigned char *memory = static_cast<unsigned char *>(
      regard::allocate(size_t(sums_bytes + reach_bytes + (items + 1) * 4)));
  if (!memory)
    return regard::fail(REGARD_OUT_OF_MEMORY, "no memory for the sums of dK and dV");
  const Reach reach(a, layout, reinterpret_cast<Touched *>(memory + sums_bytes));
  int32_t *counters = reinterpret_cast<int32_t *>(memory + sums_bytes + reach_bytes);

  int code = REGARD_OK;
  for (int64_t first = 0; first < chains && code == REGARD_OK; first += wave) {
    const int64_t now = smaller(wave, chains - first);
    __builtin_memset(counters, 0, size_t(items + 1) * 4);
    const BackwardCall<T, Products> call{a,        layout, Dropout(a), reach, counters + 1,
                                         counters, memory, now,        first};
    const double cost = 4.0 * double(now * layout.shared) * double(a.queries) * double(a.keys) *
                        double(a.head_dim + a.value_dim);
    code = regard::for_each_item(now * layout.chain(), cost, size_t(layout.bytes),
                                 backward_item<T, Products>, &call);
  }
  regard::release(memory);
  return code;
}

template <class T> int run_backward(const regard_args &a, T) {
  return with_products<T>(a, Pass::kBackward, [&](auto products) {
    return run_backward_with<T, decltype(products)>(a);
  });
}

} // namespace
