"""Models of transformers as our layers: the same states from the same embeddings."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from regard import masks
from regard.errors import ArgumentError
from regard.integrations.transformers import to_regard
from regard.layers import Encoder, Transformer
from tests.doors.models import distance
from tests.integrations.transformers.families import FAMILIES, OWN_CODE, Family

LIMIT = 5e-6


def _stack(name: str) -> tuple[Any, Any]:
    model = FAMILIES[name].build("eager")
    return model, to_regard(model)


EMBEDDED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "ViT": lambda model, image: model.embeddings(image),
    "GPT-2": lambda model, ids: model.transformer.wte(ids) + model.transformer.wpe.weight[: ids.shape[1]],
    "Llama": lambda model, ids: model.model.embed_tokens(ids),
}


@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "DistilBERT"])
@torch.no_grad()
def test_encoders(name: str) -> None:
    """A post-norm encoder gives the last hidden state, padding hidden, and its weights."""
    model, stack = _stack(name)
    inputs, real = FAMILIES[name].example("right")
    expected = model(**inputs, output_attentions=True)
    out, weights = stack(model.embeddings(inputs["input_ids"]), mask=masks.padding(real), need_weights=True)
    assert distance(out[real], expected.last_hidden_state[real]) < LIMIT
    for ours, theirs in zip(weights.values(), expected.attentions, strict=True):
        assert distance(ours.dense(), theirs) < LIMIT


@pytest.mark.parametrize("name", EMBEDDED)
@torch.no_grad()
def test_stacks(name: str) -> None:
    """A vision transformer, with its final normalisation, and decoder-only models, with a head that stays their own."""
    model, stack = _stack(name)
    (given,) = (value for key, value in FAMILIES[name].example()[0].items() if key != "attention_mask")
    expected = model.base_model(given).last_hidden_state
    assert distance(stack(EMBEDDED[name](model, given), causal=name != "ViT"), expected) < LIMIT


@pytest.mark.parametrize("name", ["T5", "BART"])
@torch.no_grad()
def test_encoder_decoders(name: str) -> None:
    """Encoder and decoder, with padding in the source hidden from both."""
    model, stack = _stack(name)
    assert isinstance(stack, Transformer)
    inputs, real = FAMILIES[name].example("right")
    found = model(**inputs, output_hidden_states=True)
    if name == "T5":
        source, target = (model.shared(inputs[key]) for key in ("input_ids", "decoder_input_ids"))
    else:
        source, target = found.encoder_hidden_states[0], found.decoder_hidden_states[0]
    encoded = stack.encoder(source, mask=masks.padding(real))
    assert distance(encoded[real], found.encoder_last_hidden_state[real]) < LIMIT
    assert distance(stack(source, target, source_padding=real), found.decoder_hidden_states[-1]) < LIMIT


def test_mode_and_dtype_are_kept() -> None:
    """The copy is in the same mode and dtype, trains, and shares nothing with the model."""
    model = FAMILIES["BERT"].build("eager").double().train()
    stack = to_regard(model)
    assert isinstance(stack, Encoder)
    assert stack.training
    assert {p.dtype for p in stack.parameters()} == {torch.float64}
    theirs = {p.data_ptr() for p in model.parameters()}
    assert not theirs & {p.data_ptr() for p in stack.parameters()}
    stack(torch.randn(1, 3, 32, dtype=torch.float64)).sum().backward()
    assert all(p.grad is not None for p in stack.parameters())


@pytest.mark.parametrize(
    ("family", "settings", "word"),
    [
        ("BERT", {"is_decoder": True}, "is_decoder"),
        ("BERT", {"hidden_act": "mish"}, "activation 'mish'"),
        ("GPT-2", {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer"),
        ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, "rope_type"),
        ("Llama", {"attention_bias": True}, "a bias"),
        ("T5", {"feed_forward_proj": "gated-gelu"}, "gated-gelu"),
    ],
)
def test_what_our_layers_lack_is_refused(family: str, settings: dict[str, Any], word: str) -> None:
    """A setting without a counterpart is an error that names it."""
    plain = FAMILIES[family]
    model = Family(plain.model, {**plain.settings, **settings}, plain.inputs).build("eager")
    with pytest.raises(ArgumentError, match=word):
        to_regard(model)


class _LowRank(nn.Linear):
    """A linear map beside another, as LoRA wraps it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x.mean()


class OwnBert(transformers.BertModel):  # type: ignore[misc]
    """A class of somebody's own, which may compute something else."""

    def forward(self, *args: Any, **settings: Any) -> Any:
        return super().forward(*args, **settings)


CHANGES: dict[str, tuple[str, Any, str]] = {
    "lora": ("BERT", lambda m: setattr(m.encoder.layer[1].output, "dense", _LowRank(48, 32)), "_LowRank of tests"),
    "lora in a head's model": ("Llama", lambda m: setattr(m.model.layers[0].self_attn, "q_proj", _LowRank(32, 32)),
                               "layers.0.self_attn.q_proj"),
    "hook": ("BERT", lambda m: m.encoder.layer[0].register_forward_hook(lambda *a: None), "has a hook"),
    "hook of the whole": ("ViT", lambda m: m.register_forward_pre_hook(lambda *a: None), "has a hook"),
    "forward": ("GPT-2", lambda m: setattr(m.transformer.h[0].mlp, "forward", lambda x: x), "forward was replaced"),
    "norm": ("ViT", lambda m: setattr(m, "layernorm", nn.BatchNorm1d(32)), "met a BatchNorm1d"),
    "another layer": ("BERT", lambda m: m.encoder.layer.append(FAMILIES["ViT"].build("eager").layers[0]),
                      "which the family does not have there"),
    "dropout": ("BERT", lambda m: setattr(m.encoder.layer[0].output.dropout, "p", 0.7), "drops with 0.7"),
    "activation": ("BART", lambda m: setattr(m.model.encoder.layers[0], "activation_fn", nn.ReLU()), "is ReLU"),
    "epsilon": ("BERT", lambda m: setattr(m.encoder.layer[0].output.LayerNorm, "eps", 0.1), "adds 0.1"),
    "one layer twice": ("BERT", lambda m: m.encoder.layer.append(m.encoder.layer[0]), "are one parameter"),
    "partly frozen": ("BERT", lambda m: m.encoder.layer[0].attention.self.query.requires_grad_(False), "are frozen"),
    "two dtypes": ("T5", lambda m: m.encoder.block[0].half(), "torch.float16 on cpu, torch.float32 on cpu"),
    "subclass": ("BERT", lambda m: setattr(m, "__class__", OwnBert), r"OwnBert of tests\..*Give it that class"),
    "nothing loaded": ("BERT", lambda m: m.to("meta"), "on meta"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_model_that_is_not_what_it_seems_is_refused(name: str) -> None:
    """What was put in, over or around a part of a model is named, never dropped."""
    family, change, words = CHANGES[name]
    model = FAMILIES[family].build("eager")
    change(model)
    with pytest.raises(ArgumentError, match=words):
        to_regard(model)


def test_layer_drop_in_training_is_refused() -> None:
    """BART can leave whole layers out while it trains; ours cannot."""
    plain = FAMILIES["BART"]
    model = Family(plain.model, {**plain.settings, "encoder_layerdrop": 0.1}, plain.inputs).build("eager")
    assert isinstance(to_regard(model), Transformer)
    with pytest.raises(ArgumentError, match="encoder_layerdrop, in training"):
        to_regard(model.train())


@torch.no_grad()
def test_what_does_not_change_the_result_is_no_obstacle() -> None:
    """Frozen parameters stay frozen, fewer layers are fewer, and a model that gave its attentions can be converted."""
    for name in ("BERT", "GPT-2"):
        model = FAMILIES[name].build("eager")
        inputs, _ = FAMILIES[name].example()
        model(**inputs, output_attentions=True)
        model.requires_grad_(False)
        layers = model.encoder.layer if name == "BERT" else model.transformer.h
        del layers[1:]
        stack = to_regard(model)
        assert len(stack.layers) == 1
        assert not any(parameter.requires_grad for parameter in stack.parameters())


def test_other_models_are_refused() -> None:
    """Another family, or another class, is an error that says what is known."""
    with pytest.raises(ArgumentError, match=r"family 'deberta-v2'.*bert"):
        to_regard(OWN_CODE["DeBERTa-v2"].build("eager"))
    with pytest.raises(ArgumentError, match="model of transformers"):
        to_regard(nn.Linear(2, 2))
