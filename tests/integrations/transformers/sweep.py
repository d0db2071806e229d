"""Every model type of transformers that can be built small, on "regard" and on "eager", in many situations.

    python -m tests.integrations.transformers.sweep [--out table.jsonl] [model type ...]

About a quarter of an hour for all types on one core. A line for each type that is not as "eager", a summary at the end;
`--out` keeps a line of JSON for each type. `test_sweep.py` runs a few types of it.
"""

from __future__ import annotations

import argparse
import datetime
import inspect
import json
import logging
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto import modeling_auto

from regard.integrations.transformers import NAME, attention_forward, reach, register, why_not
from tests.doors.models import distance as far
from tests.integrations.transformers.families import set_dropout

LENGTH, WORDS = 11, 61
LIMIT = 3e-4
LARGEST = 20_000_000  # parameters
# A situation of float16 or bfloat16 may be this many times as far from "eager" in float32 as "eager" itself.
HALF = 3.0

_SMALL: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 64, "head_dim": 8, "n_embd": 32, "n_layer": 4, "n_head": 4,
    "n_positions": 64, "n_inner": 48, "d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 4, "num_heads": 4,
    "n_layers": 4, "n_heads": 4, "ffn_dim": 48, "dim": 32, "hidden_dim": 48, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
    "word_embed_proj_dim": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "sliding_window": 4,
    "num_local_experts": 2, "num_experts": 2, "num_experts_per_tok": 1, "n_routed_experts": 2,
    "moe_intermediate_size": 16, "attention_window": 4, "window_size": 4, "q_lora_rank": 8, "kv_lora_rank": 8,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 4, "v_head_dim": 6, "n_group": 1, "topk_group": 1,
    "n_shared_experts": 1, "embedding_size": 32, "ffn_hidden_size": 48, "kv_channels": 8, "rotary_dim": 4,
    "decoder_start_token_id": 1, "max_seq_len": 64, "attention_chunk_size": 4, "local_attention": 4,
    "query_pre_attn_scalar": 8, "attn_logit_softcapping": 3.0, "final_logit_softcapping": None, "mamba_d_state": 4,
    "mamba_n_heads": 4, "mamba_d_head": 16, "shared_intermediate_size": 16, "num_decoder_layers": 2,
    "cls_token_id": 1, "sep_token_id": 2, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": WORDS,
    "rope_scaling": None, "index_topk": 3, "index_n_heads": 2, "index_head_dim": 8, "index_block_size": 2,
    "index_topk_blocks": 2, "index_local_blocks": 1, "image_size": 16, "patch_size": 4, "depth": 2, "embed_dim": 32,
    "num_mel_bins": 8, "max_source_positions": 32, "max_target_positions": 32, "projection_dim": 16,
    "out_hidden_size": 32, "spatial_merge_size": 2, "mlp_dim": 48, "conv_dim": [16, 16], "conv_stride": [5, 2],
    "conv_kernel": [10, 3], "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2, "image_token_id": 59, "image_token_index": 59, "forced_eos_token_id": None,
    "forced_bos_token_id": None, "final_logit_softcap": None,
}  # fmt: skip
# What a family may want otherwise, each tried in turn; None leaves the setting as the family has it.
_VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"num_key_value_heads": 4},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}},
    *(
        dict.fromkeys(names.split())
        for names in (
            "head_dim", "num_key_value_heads", "head_dim num_key_value_heads", "rope_scaling", "sliding_window",
            "num_experts num_local_experts n_routed_experts", "final_logit_softcapping attn_logit_softcapping",
            "image_size patch_size", "embed_dim depth window_size", "num_hidden_layers num_layers depth",
            "conv_dim conv_stride conv_kernel",
        )
    ),
)  # fmt: skip


class Late(Exception):
    """A situation took too long."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """End what runs longer."""

    def end(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def types() -> list[tuple[str, str]]:
    """Return the model types of transformers with the classes that are built for them, with a head if there is one."""
    tables = ("IMAGE_TEXT_TO_TEXT", "SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ", "CAUSAL_LM")
    heads = [getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES") for name in tables]
    found: set[tuple[str, str]] = set()
    for kind, base in {
        **dict.fromkeys(key for table in heads for key in table),
        **modeling_auto.MODEL_MAPPING_NAMES,
    }.items():
        names = [table[kind] for table in heads if kind in table] or [base]
        found |= {(kind, name if isinstance(name, str) else name[0]) for name in names}
    return sorted(found)


def smalls(kind: Any) -> Iterator[Any]:
    """Yield configurations of a class with small sizes, parts included, the one with most of them first."""
    names = set(inspect.signature(kind.__init__).parameters)
    names |= {name for base in kind.__mro__ for name in getattr(base, "__annotations__", {})}
    parts: dict[str, Any] = {}
    if getattr(kind, "sub_configs", None):
        whole = kind()
        parts = {
            part: next(smalls(type(getattr(whole, part)))) for part in kind.sub_configs if getattr(whole, part, None)
        }
    last: Exception | None = None
    for variant in _VARIANTS:
        settings = {name: value for name, value in {**_SMALL, **variant}.items() if name in names}
        settings = {name: value for name, value in settings.items() if value is not None or name not in variant}
        try:
            made = kind(**settings, **parts)
        except Exception as error:  # noqa: BLE001 - any refusal means: try the next
            last = error
        else:
            last = None
            yield made
    if last is not None:
        raise last


def build(kind: str, name: str) -> Example:
    """Return inputs of a model that runs, its weights far from even, without dropout, on "eager"."""
    first: Exception | None = None
    for config in smalls(transformers.CONFIG_MAPPING[kind]):
        try:
            model = _built(name, config)
        except Exception as error:  # noqa: BLE001 - other sizes may do
            first = first or error
            continue
        for taken in _INPUTS:
            example = Example(model, taken)
            try:
                example.run()
            except Exception as error:  # noqa: BLE001 - other inputs may do
                first = first or error
            else:
                return example
    raise first or RuntimeError(f"no configuration of {kind}")


def _built(name: str, config: Any) -> Any:
    made = getattr(transformers, name)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in made(config).parameters())
    if size > LARGEST:
        raise RuntimeError(f"too large: {size:,} parameters")
    torch.manual_seed(0)
    model = made(config)
    for name, parameter in model.named_parameters():
        if "norm" not in name.lower() and parameter.is_floating_point():
            nn.init.normal_(parameter, std=0.2)
    set_dropout(model, 0.0)
    if model.can_generate() and model.config.is_encoder_decoder:
        model.generation_config.decoder_start_token_id = 1
    model.set_attn_implementation("eager")
    return model.eval()


def distance(one: Tensor, other: Tensor) -> float:
    """Return how far a tensor is from another, as a share of its size, where some numbers may be none."""
    return far(one.double().nan_to_num(0.0, 9.0, -9.0), other.double().nan_to_num(0.0, 9.0, -9.0))


def states(outputs: Any) -> Tensor:
    """Return what a model computes."""
    for name in ("logits", "last_hidden_state"):
        if isinstance(outputs.get(name), Tensor):
            return outputs[name]
    return next(value for value in outputs.values() if isinstance(value, Tensor) and value.is_floating_point())


_INPUTS = (("input_ids",), ("pixel_values",), ("input_ids", "pixel_values"), ("input_values",), ("input_features",))


class Example:
    """Inputs of a model, and the rows that are compared: those of real tokens."""

    def __init__(self, model: Any, taken: tuple[str, ...]) -> None:
        self.model, self.taken = model, taken
        self.ids = torch.randint(4, 58, (2, LENGTH), generator=torch.Generator().manual_seed(1))
        self.real = torch.ones(2, LENGTH, dtype=torch.long)
        self.text = "input_ids" in taken
        config = model.config
        self.extra: dict[str, Tensor] = {}
        if "decoder_input_ids" in inspect.signature(model.forward).parameters:
            self.extra = {"decoder_input_ids": self.ids[:, :6]}
        parts = [config, getattr(config, "vision_config", config)]
        size = next((part.image_size for part in parts if getattr(part, "image_size", None)), 16)
        size = size if isinstance(size, int) else size[0]
        sizes = {"pixel_values": (2, 3, size, size), "input_values": (2, 400), "input_features": (2, 8, 64)}
        generator = torch.Generator().manual_seed(2)
        self.extra |= {name: torch.randn(sizes[name], generator=generator) for name in taken if name in sizes}

    def hide(self, row: int, places: slice) -> Example:
        """Return the same with tokens of one row hidden."""
        other = Example(self.model, self.taken)
        other.real[row, places] = 0
        return other

    def inputs(self, **more: Any) -> dict[str, Any]:
        """Return what the model takes."""
        text = {"input_ids": self.ids, "attention_mask": self.real} if self.text else {}
        return {**text, **self.extra, **more}

    def rows(self, found: Tensor) -> Tensor:
        """Return the rows of real tokens, where the states have a row for each token."""
        return found[self.real.bool()] if found.shape[:2] == self.real.shape else found

    def run(self, **more: Any) -> Tensor:
        """Return what the model computes, in the rows of real tokens."""
        return self.rows(states(self.model(**self.inputs(**more))))


def _generate(example: Example, **more: Any) -> Tensor:
    settings = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "num_beams": 1, **more}
    found = example.model.generate(
        example.ids, attention_mask=example.real, output_scores=True, return_dict_in_generate=True, **settings
    )
    return torch.stack(found.scores).clamp(-1e4, 1e4)


def _continued(example: Example) -> Tensor:
    """Continue with several tokens after a cache, padded on the left."""
    first = example.model(input_ids=example.ids[:, :6], attention_mask=example.real[:, :6], use_cache=True)
    rest = example.model(
        input_ids=example.ids[:, 6:], attention_mask=example.real, past_key_values=first.past_key_values, use_cache=True
    )
    return states(rest)


def _gradients(example: Example, *, again: bool = False) -> Tensor:
    model = example.model.train()
    model.zero_grad()
    if again:
        model.gradient_checkpointing_enable()
    try:
        with torch.enable_grad():
            found = example.run().float()
            # A sum of squares has no gradient behind a normalisation.
            (found * torch.randn(found.shape, generator=torch.Generator().manual_seed(5))).mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    finally:
        model.gradient_checkpointing_disable()
        model.eval()


def _attentions(example: Example) -> Tensor:
    outputs = example.model(**example.inputs(output_attentions=True))
    found = []
    for name in ("attentions", "encoder_attentions", "decoder_attentions", "cross_attentions"):
        for weights in outputs.get(name) or ():
            dense = weights if isinstance(weights, Tensor) else weights.dense()
            if dense.shape[0] == 2 and dense.shape[2] == LENGTH:
                dense = dense * example.real[:, None, :, None]
            found.append(dense.flatten())
    return torch.cat(found)


def _four(example: Example) -> Tensor:
    """A mask of the user's own, added to the scores."""
    seen = torch.rand(2, 1, LENGTH, LENGTH, generator=torch.Generator().manual_seed(4)) < 0.6
    seen |= torch.eye(LENGTH, dtype=torch.bool)
    mask = torch.zeros(seen.shape).masked_fill(~seen.tril(), torch.finfo(torch.float32).min)
    return states(example.model(**{**example.inputs(), "attention_mask": mask}))


def _packed(example: Example, **more: Any) -> Tensor:
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 4]])
    given = {name: value[:1] for name, value in example.inputs().items() if name != "attention_mask"}
    return states(example.model(**given, position_ids=positions, **more))


def _embedded(example: Example) -> Tensor:
    given = example.inputs(inputs_embeds=example.model.get_input_embeddings()(example.ids))
    given.pop("input_ids")
    return example.rows(states(example.model(**given)))


def _inferred(example: Example) -> Tensor:
    with torch.inference_mode():
        return example.run().clone()


def _half(example: Example) -> Tensor:
    try:
        example.model.bfloat16()
        return example.run()
    finally:
        example.model.float()


Situation = Callable[[Example], Tensor]
# Those of text; of the others "plain", "gradients", "checkpointed", "inferred" and "half" are asked.
SITUATIONS: dict[str, Situation] = {
    "plain": lambda e: e.run(),
    "left": lambda e: e.hide(0, slice(0, 4)).run(),
    "right": lambda e: e.hide(0, slice(LENGTH - 4, None)).run(),
    "hole": lambda e: e.hide(0, slice(3, 5)).run(),
    "all of a row hidden": lambda e: states(e.model(**e.hide(0, slice(None)).inputs()))[1:],
    "no mask": lambda e: states(e.model(**{k: v for k, v in e.inputs().items() if k != "attention_mask"})),
    "float mask": lambda e: (x := e.hide(0, slice(LENGTH - 4, None))) and x.run(attention_mask=x.real.float()),
    "4-D mask": _four,
    "packed": _packed,
    "packed, no cache": lambda e: _packed(e, use_cache=False),
    "embedded": lambda e: _embedded(e.hide(0, slice(0, 4))),
    "one token": lambda e: states(e.model(input_ids=e.ids[:, :1], **e.extra)),
    "attentions": lambda e: _attentions(e.hide(0, slice(0, 4))),
    "inferred": lambda e: _inferred(e.hide(0, slice(0, 4)) if e.text else e),
    "continued": lambda e: _continued(e.hide(0, slice(0, 4))),
    "generated": lambda e: _generate(e),
    "generated, left": lambda e: _generate(e.hide(0, slice(0, 4))),
    "generated, static": lambda e: _generate(e, cache_implementation="static", disable_compile=True),
    "generated, beams": lambda e: _generate(e, num_beams=2, max_new_tokens=4, min_new_tokens=4),
    "gradients": lambda e: _gradients(e.hide(0, slice(LENGTH - 2, None)) if e.text else e),
    "checkpointed": lambda e: _gradients(e.hide(0, slice(LENGTH - 2, None)) if e.text else e, again=True),
    "half": _half,
}
# Where a model differs and is meant to.
KNOWN: dict[tuple[str, str], str] = {
    ("attentions", name): "its own are those before the sink takes its share; ours are what multiplies the values"
    for name in ("GraniteSWAForCausalLM", "GraniteMoeSWAForCausalLM")
}
_OF_ALL = {"plain", "inferred", "gradients", "checkpointed", "half"}


def compared(example: Example, situations: dict[str, Situation] = SITUATIONS) -> dict[str, Any]:
    """Return what a model does in each situation: `bad` where it is not as "eager".

    `as_sdpa` is where "sdpa" is as far from it, `na` where "eager" fails.
    """
    model = example.model
    found: dict[str, Any] = {"why_not": why_not(model), "bad": {}, "as_sdpa": {}, "na": {}, "asked": 0}
    calls = [0]

    def counted(*given: Any, **settings: Any) -> Any:
        calls[0] += 1
        return attention_forward(*given, **settings)

    interface = transformers.AttentionInterface._global_mapping
    for name, situation in situations.items():
        if (not example.text and name not in _OF_ALL) or (name, type(model).__name__) in KNOWN:
            continue
        if name == "half" and "index_topk" in vars(model.config.get_text_config()):
            continue  # which keys are chosen turns on the last digit

        def on(implementation: str, situation: Situation = situation) -> Tensor:
            model.set_attn_implementation(implementation)
            torch.manual_seed(3)
            numpy.random.seed(3)
            with torch.no_grad():
                return situation(example)

        try:
            with within(40):
                expected = on("eager")
        except Exception as error:  # noqa: BLE001 - whatever the model itself does not do
            found["na"][name] = f"{type(error).__name__}: {str(error)[:80]}"
            continue
        found["asked"] += 1
        interface[NAME] = counted
        try:
            with within(60):
                off = distance(on(NAME), expected)
                limit = LIMIT if name != "half" else HALF * distance(expected, SITUATIONS["plain"](example)) + 1e-3
            if not off <= limit:
                theirs = _sdpa(on, expected)
                same = isinstance(theirs, float) and off <= 1.5 * theirs
                found["as_sdpa" if same else "bad"][name] = {"off": off, "sdpa": theirs}
        except Exception as error:  # noqa: BLE001 - a finding
            found["bad"][name] = f"{type(error).__name__}: {str(error)[:300]}"
        finally:
            interface[NAME] = attention_forward
    found["calls"] = calls[0]
    found["reach"] = repr(reach(model))
    apart = [name for name, _, reason in reach(model).rows if reason is not None]
    if found["asked"] and (calls[0] > 0 if found["why_not"] else not calls[0] and not apart):
        found["bad"]["why_not"] = f"{found['why_not']}, and {calls[0]} calls"
    return found


def _sdpa(on: Callable[[str], Tensor], expected: Tensor) -> float | str:
    """Return how far "sdpa" is off, to compare."""
    try:
        return distance(on("sdpa"), expected)
    except Exception as error:  # noqa: BLE001 - it need not serve the model
        return type(error).__name__


def main() -> None:
    """Run the types that the command line names, or all."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("types", nargs="*")
    reader.add_argument("--out", type=Path)
    given = reader.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    register()
    count: Counter[str] = Counter()
    for kind, name in types():
        if given.types and kind not in given.types:
            continue
        began = time.time()
        row: dict[str, Any] = {"type": kind, "class": name}
        try:
            with within(60):
                example = build(kind, name)
        except Exception as error:  # noqa: BLE001 - it cannot be built small
            row["skipped"] = f"{type(error).__name__}: {str(error)[:150]}"
            count[f"not built, {type(error).__name__}"] += 1
        else:
            row |= compared(example)
            count["built"] += 1
            count["situations"] += row["asked"]
            count['on "regard"' if row["calls"] else "in their own code"] += 1
            count["not as eager"] += bool(row["bad"])
            count["somewhere as sdpa"] += bool(row["as_sdpa"])
            if row["bad"]:
                sys.stdout.write(f"{kind} ({name}): {row['bad']}\n")
        row["seconds"] = round(time.time() - began, 1)
        if given.out is not None:
            with given.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    sys.stdout.write(f"{datetime.date.today()}, {versions}: {dict(count)}\n")


if __name__ == "__main__":
    main()
