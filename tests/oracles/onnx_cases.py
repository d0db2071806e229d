"""The Attention cases of the ONNX standard, as calls of ours.

Differences of meaning, all of which have a place in our call: causal and window are aligned top-left, or behind the
cached keys, or at the end of each sequence's real keys; a mask that is shorter than the keys hides the rest; an
additive mask is a bias; heads may lie side by side in the last dimension.
"""

import functools
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from onnx import helper
from onnx.backend.test.case.node import collect_testcases
from torch import Tensor

from regard import masks
from regard.masks import Mask

FLOATS = {"float16": torch.float16, "float32": torch.float32, "bfloat16": torch.bfloat16}


class OnnxCase(NamedTuple):
    """One case: what to call with, and what ONNX expects."""

    name: str
    query: Tensor
    key: Tensor
    value: Tensor
    arguments: dict[str, Any]
    side_by_side: bool
    """The output has the heads in its last dimension."""
    expected: Tensor
    stage: int
    """What `scores` are: 0 scaled products, 1 after the softcap, 2 after mask and bias, 3 the weights."""
    scores: Tensor | None


@functools.cache
def onnx_cases() -> tuple[OnnxCase, ...]:
    """Return every Attention case of the installed package; those expanded into other operators say the same twice."""
    before = np.random.get_state()
    np.random.seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cases of other operators overflow on purpose
            found = collect_testcases("Attention")
    finally:
        np.random.set_state(before)
    return tuple(_case(case) for case in found if not case.name.endswith("_expanded"))


def _case(case: Any) -> OnnxCase:
    (node,) = case.model.graph.node
    say = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    names = ("query", "key", "value", "mask", "past_key", "past_value", "lengths")
    given, wanted = ([_tensor(array) for array in arrays] for arrays in case.data_sets[0])
    have = dict(zip([n for n, there in zip(names, node.input, strict=False) if there], given, strict=True))
    made = dict(zip([n for n in node.output if n], wanted, strict=True))
    query, key, value = have["query"], have["key"], have["value"]
    side_by_side = query.ndim == 3
    if side_by_side:
        query = _split(query, say["q_num_heads"])
        key, value = (_split(x, say["kv_num_heads"]) for x in (key, value))
    past = 0
    if "past_key" in have:
        past = have["past_key"].shape[2]
        key, value = torch.cat((have["past_key"], key), 2), torch.cat((have["past_value"], value), 2)
    arguments: dict[str, Any] = {"scale": say.get("scale"), "softcap": say.get("softcap") or None}
    mask = _band(say, query.shape[2], past, have.get("lengths"))
    if "lengths" in have:
        mask = mask & masks.padding(have["lengths"])
    tensor = have.get("mask")
    if tensor is not None:
        boolean = tensor.dtype == torch.bool
        missing = (0, key.shape[2] - tensor.shape[-1])
        tensor = torch.nn.functional.pad(tensor, missing, value=False if boolean else -torch.inf)
        if boolean:
            mask = mask & tensor
        else:
            arguments["bias"] = tensor
    arguments["mask"] = mask
    stage = say.get("qk_matmul_output_mode", 0)
    scores = made.get("qk_matmul_output")
    return OnnxCase(case.name, query, key, value, arguments, side_by_side, made["Y"], stage, scores)


def _band(say: dict[str, Any], queries: int, past: int, lengths: Tensor | None) -> Mask:
    left, right = say.get("left_window_size", -1), say.get("right_window_size", -1)
    if say.get("is_causal"):
        right = 0 if right < 0 else min(right, 0)
    if left < 0 and right < 0:
        return Mask()
    if lengths is None:
        return masks.window(None if left < 0 else left, None if right < 0 else right, offset=past)
    place = torch.arange(queries) + (lengths - queries)[:, None]  # (B, L): each sequence ends at its last real key
    start = torch.zeros_like(place) if left < 0 else place - left
    return masks.spans(start, torch.full_like(place, 2**31 - 1) if right < 0 else place + right + 1)


def _split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _tensor(array: Any) -> Tensor:
    name = array.dtype.name
    if name in FLOATS:
        return torch.from_numpy(array.astype(np.float64)).to(FLOATS[name])
    return torch.from_numpy(array.copy())
