"""Peak memory of a watched layer beside the same layer unwatched, each in a fresh process; needs transformers."""

from __future__ import annotations

import subprocess
import sys

from .measure import Table

NAME = "watch-memory"
_PEERS = ("unwatched", "watched", "watched, no native", "watched, exact")
_CHILD = """
import contextlib, sys, torch, regard, transformers
from benchmarks.peak import peak_mebibytes
from benchmarks.watch import without_native
peer, length = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)
config = transformers.BertConfig(
    num_hidden_layers=1, hidden_size=512, num_attention_heads=8, intermediate_size=2048, max_position_embeddings=length
)
model = transformers.BertModel(config, add_pooling_layer=False).eval()
ids = torch.randint(1000, 30000, (1, length))
how = {"keep": "exact"} if peer == "watched, exact" else {}
with torch.no_grad(), without_native() if "no native" in peer else contextlib.nullcontext():
    model(ids[:, :64])
    before = peak_mebibytes()
    with regard.watch(model, **how) if "unwatched" not in peer else contextlib.nullcontext():
        model(ids)
print(peak_mebibytes() - before)
"""


def run(quick: bool) -> Table:
    """Return MiB that a forward pass of one layer with 8 heads of 64 adds to the model and its inputs."""
    table = Table("Memory that a pass of one layer adds, MiB, 8 heads of 64, float32", ["n", *_PEERS])
    for length in (2048,) if quick else (4096, 16384):
        found = {peer: _peak(peer, length) for peer in _PEERS}
        table.rows.append([str(length), *(f"{mebi:.0f}" for mebi in found.values())])
        table.records.append({"n": length, "mebibytes": found})
    return table


def _peak(peer: str, length: int) -> float:
    command = [sys.executable, "-c", _CHILD, peer, str(length)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
