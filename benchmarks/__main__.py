"""`python -m benchmarks [name ...] [--quick] [--threads N]`: print each table, keep its numbers in build/bench/."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path

import torch

from . import (
    attention_memory,
    attention_speed,
    gpu,
    layers_speed,
    linear_speed,
    native_speed,
    serve_speed,
    training_speed,
    transformers_speed,
    viewer,
    watch,
    watch_memory,
)
from .draw import draw, draw_gpu
from .measure import machine

# One module a benchmark: NAME, and run(quick) that returns a Table.
BENCHMARKS = (
    native_speed, linear_speed, layers_speed, attention_speed, attention_memory, training_speed, transformers_speed,
    serve_speed, watch, watch_memory, viewer, gpu,
)  # fmt: skip


def main() -> None:
    """Run the benchmarks that are named, or all."""
    names = [benchmark.NAME for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"out of: {', '.join(names)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer sizes, less time: to see that it works")
    parser.add_argument("--dry-run", action="store_true", help="gpu: its every step, small, on the CPU")
    parser.add_argument("--threads", type=int, default=1, help="threads that torch may use")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="where the JSON files go")
    given = parser.parse_args()
    unknown = set(given.names) - set(names)
    if unknown:
        parser.error(f"there is no benchmark {sorted(unknown)[0]!r}; choose out of {', '.join(names)}")
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    given.out.mkdir(parents=True, exist_ok=True)
    for benchmark in BENCHMARKS:
        if given.names and benchmark.NAME not in given.names:
            continue
        if benchmark is gpu:
            if not given.names and not torch.cuda.is_available():  # all, where there is no GPU
                continue
            table = gpu.run(given.quick, given.dry_run)
        else:
            table = benchmark.run(given.quick)
        print(table, end="\n\n", flush=True)
        path = given.out / f"{benchmark.NAME}.json"
        path.write_text(json.dumps({"machine": machine(), "quick": given.quick, "results": table.records}, indent=1))
        if benchmark in (native_speed, gpu) and importlib.util.find_spec("matplotlib"):
            (draw if benchmark is native_speed else draw_gpu)(path, path.with_suffix(".png"))
            print(f"Curves: {path.with_suffix('.png')}\n")


if __name__ == "__main__":
    main()
