"""The native forward beside SDPA and the machine's own multiply-add peak.

    PYTHONPATH=. python benchmarks/native_forward.py [long short width decode]

One thread, CPU time, the best of alternating runs in one process.
"""

import sys
import time

import torch
import torch.nn.functional as F

from tests.native import library

# B, H, G, L, S, E
CASES = {
    "long": [(1, 8, 8, n, n, 64) for n in (2048, 4096)],
    "short": [(8, 8, 8, n, n, 64) for n in (128, 197, 256, 512)],
    "width": [(1, 8, 8, 2048, 2048, e) for e in (32, 80, 96, 128)],
    "decode": [(1, 8, 8, 1, 2048, 64), (1, 8, 8, 1, 32768, 64), (1, 32, 8, 1, 4096, 128)],
}


def cpu_time(call, inner):
    begin = time.process_time_ns()
    for _ in range(inner):
        call()
    return (time.process_time_ns() - begin) / inner


def peak(dtype):
    """Floating-point operations per nanosecond of a loop of multiply-adds."""
    rounds = 10**6
    done = library.LIB.regard_multiply_add_loop(library.DTYPES[dtype], 1)
    loop = library.LIB.regard_multiply_add_loop
    return done * rounds / min(cpu_time(lambda: loop(library.DTYPES[dtype], rounds), 1) for _ in range(5))


def measure(case, dtype, causal):
    b, h, g, n, s, e = case
    q, k, v = (torch.randn(b, x, y, e).to(dtype) for x, y in ((h, n), (g, s), (g, s)))
    stop = torch.arange(s - n + 1, s + 1).int()[None, None]
    spans = (torch.zeros_like(stop), stop) if causal else None
    output, lse = torch.empty_like(q), torch.empty(b, h, n)
    cells = torch.empty(b, h, -(-n // 64), -(-s // 64))
    plain, mapped = (library.arguments(q, k, v, spans=spans) for _ in range(2))
    for a in (plain, mapped):
        a.output, a.lse = library.rows(output), lse.data_ptr()
    mapped.map, mapped.map_rows, mapped.map_columns = cells.data_ptr(), 64, 64
    wide_k, wide_v = (x.repeat_interleave(h // g, 1) for x in (k, v))
    calls = (
        lambda: library.call("forward", plain),
        lambda: library.call("forward", mapped),
        lambda: F.scaled_dot_product_attention(q, wide_k, wide_v, is_causal=causal),
    )
    work = 4.0 * b * h * n * s * e * (0.5 if causal else 1)
    inner = min(200, max(1, int(1e9 / work)))
    best = [float("inf")] * 3
    for _ in range(5):
        for i, call in enumerate(calls):
            call()
            best[i] = min(best[i], cpu_time(call, inner))
    return work, best


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    library.use_torch_threads(False)
    chosen = sys.argv[1:] or list(CASES)
    print(f"instruction set: {library.LIB.regard_isa().decode()}")
    for dtype in (torch.float32, torch.bfloat16):
        top = peak(dtype)
        print(f"{dtype}: multiply-add peak {top:.0f} GF/s")
        for case in (case for name in chosen for case in CASES[name]):
            for causal in (False, True) if case[3] > 1 else (False,):
                work, (own, mapped, sdpa) = measure(case, dtype, causal)
                print(
                    f"  B H G L S E = {case}{' causal' if causal else ''}: {work / own:.0f} GF/s,"
                    f" {work / own / top:.0%} of peak, {sdpa / own:.2f} x SDPA,"
                    f" map {mapped / own - 1:+.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
