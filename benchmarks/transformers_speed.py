"""Time of a Hugging Face encoder of BERT-base's size by attention implementation; needs transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from regard.integrations.transformers import register, use_fast_attention

from .measure import Table, add_ratios, compare

NAME = "transformers-speed"
_LENGTHS = (128, 512, 2048)
_PADDED = 512


def run(quick: bool) -> Table:
    """Return CPU time of a forward pass, one sequence, as multiples of transformers' "sdpa"."""
    peers = ["eager+attentions", "regard", "regard+lazy weights", "use_fast_attention"]
    table = Table(
        "Time of BERT (12 layers of 768, random weights) without gradients, as multiples of sdpa",
        ["dtype", "n", "padding", "sdpa ms", *peers],
    )
    register()
    for dtype in (torch.float32, torch.bfloat16):
        model = _model(2 if quick else 12, dtype)
        for length in _LENGTHS[: 1 if quick else None]:
            for padding in (False, True) if length == _PADDED else (False,):
                setting = {"dtype": str(dtype).removeprefix("torch."), "n": length, "padding": padding}
                seconds = 0.05 if quick else min(2.0, length / 256)
                add_ratios(table, setting, compare(_peers(model, length, padding), seconds), "sdpa")
    return table


def _model(layers: int, dtype: torch.dtype) -> Any:
    import transformers

    config = transformers.BertConfig(num_hidden_layers=layers, max_position_embeddings=max(_LENGTHS))
    return transformers.BertModel(config, add_pooling_layer=False).eval().to(dtype)


def _peers(model: Any, length: int, padding: bool) -> dict[str, Callable[[], object]]:
    inputs = {"input_ids": torch.randint(1000, 30000, (1, length)), "attention_mask": torch.ones(1, length).long()}
    if padding:
        inputs["attention_mask"][:, length * 3 // 4 :] = 0

    def by(implementation: str, attentions: bool = False) -> Callable[[], object]:
        def call() -> object:
            model.set_attn_implementation(implementation)
            with torch.no_grad():
                return model(**inputs, output_attentions=attentions)

        return call

    plain = by("sdpa")

    def inside() -> object:
        with use_fast_attention():
            return plain()

    return {
        "sdpa": plain,
        "eager+attentions": by("eager", attentions=True),
        "regard": by("regard"),
        "regard+lazy weights": by("regard", attentions=True),
        "use_fast_attention": inside,
    }
