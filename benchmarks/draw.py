"""Draw the curves of a benchmark from its JSON file; needs matplotlib.

`python -m benchmarks.draw build/bench/native-speed.json docs/images/native-speed.png`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_COLOURS = {"float32": "#1b5e8c", "bfloat16": "#c25b12"}


def draw(source: Path, target: Path) -> None:
    """Draw speed beside torch, and the share of the machine's peak, over the length of the sequence."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    found = json.loads(source.read_text())
    records = [r for r in found["results"] if r["what"] in ("forward", "short batch")]
    figure, (ratio, share) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for dtype, colour in _COLOURS.items():
        for causal in (False, True):
            lines = sorted(_chosen(records, dtype, causal), key=lambda r: r["queries"])
            lengths = [r["queries"] for r in lines]
            style: dict[str, Any] = {"color": colour, "ls": "--" if causal else "-", "marker": "o", "ms": 4}
            style["label"] = f"{dtype}{', causal' if causal else ''}"
            ratio.plot(lengths, [r["seconds"]["torch"] / r["seconds"]["ours"] for r in lines], **style)
            share.plot(lengths, [r["gflops"] / r["peak_gflops"] for r in lines], **style)
    ratio.axhline(1, color="grey", lw=0.8)
    ratio.set(ylabel="CPU time of torch's attention / ours", ylim=(0, None), title="forward, 8 heads of 64")
    share.set(ylabel="share of the multiply-add peak", ylim=(0, 1), title="the same, beside the machine's own peak")
    for panel in (ratio, share):
        panel.set_xscale("log", base=2)
        panel.set_xticks([128, 512, 2048, 8192], ["128", "512", "2,048", "8,192"])
        panel.set_xlabel("tokens (8 sequences at a time up to 512)")
    share.legend(fontsize=8)
    machine = found["machine"]
    figure.suptitle(f"{machine['machine']}, torch {machine['torch']}, {machine['threads']} thread(s)", fontsize=9)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)


def draw_gpu(source: Path, target: Path) -> None:
    """Draw TFLOP/s over the length for each width, forward and backward, and each look as a share of the forward."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    results = json.loads(source.read_text())["results"]
    speeds = [one for one in results if one["what"] == "attention"]
    kinds = sorted({(one["width"], one["pass"], one["causal"]) for one in speeds})
    across = 4
    down = -(-(len(kinds) + 1) // across)
    figure, panels = plt.subplots(down, across, figsize=(3.4 * across, 2.9 * down), layout="constrained", squeeze=False)
    every = iter(panels.flat)
    for (width, what, causal), panel in zip(kinds, every, strict=False):
        alike = [one for one in speeds if (one["width"], one["pass"], one["causal"]) == (width, what, causal)]
        alike.sort(key=lambda one: int(one["keys"]))
        for name in sorted({name for one in alike for name in one["tflops"]}):
            points = [(one["keys"], one["tflops"][name]) for one in alike if name in one["tflops"]]
            panel.plot(*zip(*points, strict=True), marker="o", ms=3, label=name)
        panel.set(title=f"D = {width}, {what}{', causal' if causal else ''}", ylim=(0, None), xlabel="tokens")
        panel.set_xscale("log", base=2)
        panel.set_ylabel("TFLOP/s")
        panel.legend(fontsize=6)
    looks = [one for one in results if one["what"] == "looks"][-1:]
    for one, panel in zip(looks, every, strict=False):
        times = {name: ms for name, ms in one["times"].items() if isinstance(ms, float)}
        unit = times.pop("forward")
        panel.barh(list(times), [ms / unit for ms in times.values()], color="#1b5e8c")
        panel.axvline(0.5, color="grey", lw=0.8)
        panel.set(title=f"looks / forward, {one['keys']} tokens")
    for panel in every:
        panel.axis("off")
    figure.suptitle(next(one["gpu"] for one in results if one["what"] == "machine"), fontsize=9)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)


def _chosen(records: list[dict[str, Any]], dtype: str, causal: bool) -> list[dict[str, Any]]:
    return [r for r in records if r["dtype"] == dtype and r["causal"] == causal]


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
