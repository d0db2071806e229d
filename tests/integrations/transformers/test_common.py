"""What transformers asks of every attention implementation: the states of "sdpa", whatever the setting."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regard.integrations.transformers import register
from tests.integrations.transformers.families import FAMILIES, tensors
from tests.integrations.transformers.test_families import distance, real_part

register()

_NAMES = ["BERT", "GPT-2", "Llama", "Mistral", "Qwen2", "ModernBERT", "T5", "BART", "CLIP"]
# Largest distance of the states between two implementations in one dtype.
_LIMITS = {torch.float32: 5e-6, torch.bfloat16: 4e-2, torch.float16: 5e-3}


@pytest.mark.parametrize("dtype", list(_LIMITS))
@pytest.mark.parametrize("name", _NAMES)
def test_the_states_of_sdpa(name: str, dtype: torch.dtype) -> None:
    """Padding on either side, training and eval, attentions asked for or not, an all-ones mask or none."""
    theirs, ours = (FAMILIES[name].build(implementation).to(dtype) for implementation in ("sdpa", "regard"))
    for padding, training, asked in itertools.product((None, "left", "right"), (False, True), (False, True)):
        inputs, real = FAMILIES[name].example(padding)
        inputs = {key: x.to(dtype) if x.is_floating_point() else x for key, x in inputs.items()}
        expected = _states(theirs, inputs, training, asked=False)
        found = _states(ours, inputs, training, asked)
        assert expected.keys() == found.keys()
        for key, state in expected.items():
            case = (key, padding, training, asked)
            assert found[key].dtype == dtype
            assert distance(real_part(found[key], real), real_part(state, real)) < _LIMITS[dtype], case


@pytest.mark.parametrize("name", _NAMES)
@torch.no_grad()
def test_a_mask_of_ones_is_no_mask(name: str) -> None:
    """A model given a mask that hides nothing computes what it computes without one."""
    inputs, _ = FAMILIES[name].example()
    model = FAMILIES[name].build("regard")
    with_mask = tensors(model(**inputs))
    without = tensors(model(**{key: x for key, x in inputs.items() if key != "attention_mask"}))
    for key, state in with_mask.items():
        assert distance(without[key], state) < _LIMITS[torch.float32]


@pytest.mark.parametrize("name", [name for name in _NAMES if FAMILIES[name].inputs == "text"])
@torch.no_grad()
def test_a_sequence_alone_is_that_of_a_padded_batch(name: str) -> None:
    """The states of a short text are the same alone and padded beside a longer one."""
    inputs, real = FAMILIES[name].example("right")
    model = FAMILIES[name].build("regard")
    padded = tensors(model(**inputs))
    alone = tensors(model(input_ids=inputs["input_ids"][:1][:, real[0]]))
    for key, state in alone.items():
        assert distance(padded[key][:1][:, real[0]], state) < _LIMITS[torch.float32]


def _states(model: nn.Module, inputs: dict[str, Tensor], training: bool, asked: bool) -> dict[str, Tensor]:
    model.train(training)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for chance in ("dropout", "attention_dropout", "activation_dropout", "layerdrop"):
            if isinstance(getattr(part, chance, None), float):
                setattr(part, chance, 0.0)
    settings: dict[str, Any] = {"output_attentions": True} if asked else {}
    with torch.no_grad():
        return tensors(model(**inputs, **settings))
