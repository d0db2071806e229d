// Who adds to the gradients of the keys and values, and when.
//
// An item of work is one strip of queries of one head. All items that share a
// key/value head form a chain; their sums for a block of keys are added one
// item after the other, in the order of the chain, whatever the threads do. So
// there is one set of sums, and the result is that of a single thread. An item
// goes through its blocks upwards and says how far it is; the next one in the
// chain that touches a block waits for it there. Items are started in order,
// heads side by side, so the one waited for is always running, and is ahead.
#pragma once

#include "internal.h"
#include "simd/vector.h"

namespace {

// Blocks of keys that a strip of queries touches.
struct Touched {
  int32_t begin, end;
  REGARD_INLINE bool has(int32_t block) const { return begin <= block && block < end; }
};

struct Shape {
  int64_t strip;  // queries of an item
  int64_t block;  // keys
  int64_t strips; // of one head
  int64_t blocks; // of keys
  int64_t shared; // heads per key/value head
  int64_t chain() const { return strips * shared; }
};

// The touched blocks of every strip, stored once where spans are broadcast.
struct Reach {
  Touched *touched;
  int64_t strips, per_batch, per_head;

  static int64_t count(const regard_args &a, const Shape &shape) {
    const int64_t heads = a.span_start && a.span_head ? a.heads : 1;
    return (a.span_start && a.span_batch ? a.batch : 1) * heads * shape.strips;
  }

  Reach(const regard_args &a, const Shape &shape, Touched *memory) : touched(memory) {
    const int64_t heads = a.span_start && a.span_head ? a.heads : 1;
    const int64_t batches = a.span_start && a.span_batch ? a.batch : 1;
    strips = shape.strips;
    per_head = heads > 1 ? strips : 0;
    per_batch = batches > 1 ? heads * strips : 0;
    for (int64_t b = 0; b < batches; ++b)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t s = 0; s < strips; ++s)
          touched[(b * heads + h) * strips + s] = of_strip(a, shape, b, h, s);
  }

  REGARD_INLINE Touched operator()(int64_t b, int64_t h, int64_t strip) const {
    return touched[b * per_batch + h * per_head + strip];
  }

private:
  static Touched of_strip(const regard_args &a, const Shape &shape, int64_t b, int64_t h,
                          int64_t strip) {
    if (!a.span_start)
      return {0, int32_t(shape.blocks)};
    const int64_t at = b * a.span_batch + h * a.span_head;
    const int64_t end = smaller((strip + 1) * shape.strip, a.queries);
    const int32_t keys = int32_t(a.keys);
    int32_t first = keys, last = 0;
    for (int64_t i = strip * shape.strip; i < end; ++i) {
      const int32_t from = larger(a.span_start[at + i], 0);
      const int32_t to = smaller(a.span_stop[at + i], keys);
      if (from >= to)
        continue;
      first = smaller(first, from);
      last = larger(last, to);
    }
    if (first >= last)
      return {0, 0};
    return {int32_t(first / shape.block), int32_t(ceil_div(last, shape.block))};
  }
};

// One key/value head's items, numbered 0.. in the order of their sums: head by
// head, the last queries first (with a causal mask they see most).
struct Chain {
  const Reach &reach;
  const Shape &shape;
  int64_t batch, first_head;
  int32_t *progress; // per item, `stride` apart: blocks done, counted from 0
  int64_t stride;

  int64_t strip_of(int64_t item) const { return shape.strips - 1 - item % shape.strips; }
  int64_t head_of(int64_t item) const { return first_head + item / shape.strips; }
  Touched touched(int64_t item) const { return reach(batch, head_of(item), strip_of(item)); }

  // The nearest item before (step -1) or after (1) that touches the block, or -1.
  int64_t neighbour(int64_t item, int32_t block, int64_t step) const {
    for (int64_t i = item + step; i >= 0 && i < shape.chain(); i += step)
      if (touched(i).has(block))
        return i;
    return -1;
  }
  bool untouched(int32_t block) const { return neighbour(-1, block, 1) < 0; }

  void wait(int64_t item, int32_t block) const {
    regard::wait_for(progress + item * stride, block + 1);
  }
  void done(int64_t item, int32_t blocks) const {
    regard::publish(progress + item * stride, blocks);
  }
};

} // namespace
