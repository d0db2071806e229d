"""The part of the sweep that runs each time: types of which each is alone in what it asks of an attention."""

import logging
from collections.abc import Iterator

import pytest

from regard.integrations.transformers import register
from tests.integrations.transformers.sweep import SITUATIONS, build, compared

register()

# What a type has that others have not, where "eager" alone is what its code is written for.
TYPES = {
    "adds to the mask, sinks": ("deepseek_v4", "DeepseekV4ForCausalLM"),
    "says nothing of the past": ("splinter", "SplinterModel"),
    "keys chosen one by one": ("glm_moe_dsa", "GlmMoeDsaForCausalLM"),
    "blocks of keys chosen": ("minimax_m3_vl_text", "MiniMaxM3VLForCausalLM"),
    "a sink for each row": ("inkling2_text", "Inkling2ForCausalLM"),
    "a mask of its own from the values": ("doge", "DogeForCausalLM"),
    "its own code beside the interface": ("git", "GitForCausalLM"),
    "its own code": ("falcon", "FalconForCausalLM"),
    "a position bias beside the mask": ("t5", "T5ForConditionalGeneration"),
    "image tokens that see each other": ("gemma3", "Gemma3ForConditionalGeneration"),
}
_ASKED = ("plain", "left", "hole", "4-D mask", "packed, no cache", "attentions", "continued", "generated, static",
          "gradients", "inferred")  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TYPES)
def test_types_that_ask_for_something_of_their_own(name: str) -> None:
    """In every situation the type gives what it gives on "eager", and `why_not` says whether it comes at all."""
    example = build(*TYPES[name])
    found = compared(example, {situation: SITUATIONS[situation] for situation in _ASKED})
    assert found["asked"] >= 6
    assert not found["bad"]
    assert not found["as_sdpa"]
    assert (found["calls"] > 0) == (name not in ("its own code", "its own code beside the interface"))
