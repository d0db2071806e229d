"""Time of a watched BERT-base beside the same model unwatched, with the native kernel and without; transformers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

import regard
from regard.backends.native import _library

from .measure import Table, add_ratios, compare

NAME = "watch-speed"
_LENGTHS = (128, 512, 2048)


def run(quick: bool) -> Table:
    """Return CPU time of a forward pass of one sequence, as multiples of the unwatched model on SDPA."""
    layers = 2 if quick else 12
    table = Table(
        f"Time of BERT ({layers} layers of 768, random weights), watched, as multiples of the same model unwatched",
        ["n", "unwatched ms", "watched", "watched, no native", "eager+attentions"],
    )
    model = _model(layers)
    for length in _LENGTHS[: 1 if quick else None]:
        seconds = 0.05 if quick else min(4.0, length / 64)
        add_ratios(table, {"n": length}, compare(_peers(model, length), seconds), "unwatched")
    return table


@contextmanager
def without_native() -> Iterator[None]:
    """Run as where the native library was not built."""
    with mock.patch.object(_library, "_found", return_value="left out to be measured"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def _model(layers: int) -> Any:
    import transformers

    config = transformers.BertConfig(num_hidden_layers=layers, max_position_embeddings=max(_LENGTHS))
    return transformers.BertModel(config, add_pooling_layer=False).eval()  # type: ignore[no-untyped-call]


def _peers(model: Any, length: int) -> dict[str, Callable[[], object]]:
    inputs = {"input_ids": torch.randint(1000, 30000, (1, length)), "attention_mask": torch.ones(1, length).long()}

    def plain(implementation: str = "sdpa", attentions: bool = False) -> object:
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            return model(**inputs, output_attentions=attentions)

    def watched() -> object:
        with regard.watch(model):
            return plain()

    def on_torch() -> object:
        with without_native():
            return watched()

    return {
        "unwatched": plain,
        "watched": watched,
        "watched, no native": on_torch,
        "eager+attentions": lambda: plain("eager", attentions=True),
    }
