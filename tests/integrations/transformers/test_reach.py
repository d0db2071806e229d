"""Which attention of a model comes to "regard": what `why_not` and `reach` say is what a forward pass does."""

from typing import Any

import pytest
import torch
import transformers
from torch import nn

from regard.errors import ArgumentError
from regard.integrations.transformers import NAME, attention_forward, reach, register, why_not
from tests.integrations.transformers.families import BERT, FAMILIES, IMAGE, OWN_CODE

register()

_TROCR = {
    "vocab_size": 61, "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48,
    "cross_attention_hidden_size": 32, "pad_token_id": 0,
}  # fmt: skip
_SAM = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 4,
    "window_size": 3, "global_attn_indexes": [1], "output_channels": 16, "mlp_dim": 48, "num_pos_feats": 8,
}  # fmt: skip


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the classes that call our attention from now on."""
    seen: list[str] = []

    def counted(module: nn.Module, *given: Any, **settings: Any) -> Any:
        seen.append(type(module).__name__)
        return attention_forward(module, *given, **settings)

    monkeypatch.setitem(transformers.AttentionInterface._global_mapping, NAME, counted)
    return seen


def _writer_of_images(decoder: Any) -> Any:
    encoder = transformers.ViTModel(transformers.ViTConfig(**IMAGE))
    return transformers.VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)


_WRITTEN = {"pixel_values": torch.randn(2, 3, 16, 16), "decoder_input_ids": torch.randint(4, 60, (2, 6))}


@torch.no_grad()
def test_an_encoder_decoder_whose_parts_keep_their_configuration(calls: list[str]) -> None:
    """Switched over once it is built, its attention never comes; built for it, the part that asks does."""
    model = _writer_of_images(transformers.TrOCRForCausalLM(transformers.TrOCRConfig(**_TROCR))).eval()
    assert 'build or load the model with attn_implementation="regard"' in str(why_not(model))
    model.set_attn_implementation(NAME)
    model(**_WRITTEN)
    assert not calls
    built = transformers.VisionEncoderDecoderModel._from_config(model.config, attn_implementation=NAME).eval()
    assert why_not(built) is None
    assert reach(built).rows == (
        ("ViTAttention", 2, None),
        ("TrOCRAttention", 4, "computes attention in its own code"),
    )
    built(**_WRITTEN)
    assert calls == ["ViTAttention"] * 2
    with pytest.raises(ArgumentError, match=r"VisionEncoderDecoderModel cannot use regard.*does not reach"):
        register(model)


@torch.no_grad()
def test_a_mask_made_for_regard_and_read_by_eager() -> None:
    """A composite model of which one configuration is switched and another not is right all the same."""
    config = transformers.BertConfig(**BERT, is_decoder=True, add_cross_attention=True)
    found = []
    for name in ("eager", NAME):
        torch.manual_seed(0)
        model = _writer_of_images(transformers.BertLMHeadModel._from_config(config, attn_implementation="eager"))
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
        model.eval().set_attn_implementation(name)
        hidden = torch.ones(2, 6, dtype=torch.long)
        hidden[0, -2:] = 0
        found.append(model(**_WRITTEN, decoder_attention_mask=hidden).logits)
    assert torch.allclose(found[0], found[1], atol=1e-5)


@torch.no_grad()
def test_sam(calls: list[str]) -> None:
    """The image part of SAM picks its class by the name of "eager" or "sdpa"; its mask decoder comes."""
    vision = transformers.SamVisionModel(transformers.SamVisionConfig(**_SAM)).eval()
    assert "SamVisionSdpaAttention" in str(why_not(vision))
    vision.set_attn_implementation(NAME)
    vision(pixel_values=torch.randn(1, 3, 32, 32))
    assert not calls
    prompts = {"hidden_size": 16, "image_size": 32, "patch_size": 4, "mask_input_channels": 4,
               "image_embedding_size": 8}  # fmt: skip
    decoder = {
        "hidden_size": 16, "mlp_dim": 48, "num_attention_heads": 4, "num_hidden_layers": 2, "iou_head_hidden_dim": 16,
    }  # fmt: skip
    parts = {"vision_config": _SAM, "prompt_encoder_config": prompts, "mask_decoder_config": decoder}
    whole = transformers.SamModel(transformers.SamConfig(**parts)).eval()
    assert why_not(whole) is None
    assert repr(reach(whole)).splitlines() == [
        '7 of 9 attention modules on attn_implementation="regard"',
        "   SamVisionSdpaAttention (2): computes attention in its own code",
        "   SamAttention (7): yes",
    ]
    whole.set_attn_implementation(NAME)
    whole(pixel_values=torch.randn(1, 3, 32, 32), input_points=torch.rand(1, 1, 2, 2) * 30)
    assert calls == ["SamAttention"] * 7


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_what_is_said_of_a_family_is_what_it_does(name: str, calls: list[str]) -> None:
    """Every module that is said to come calls, and no other; the family is not refused, and switches over."""
    model = FAMILIES[name].build("eager")
    assert why_not(model) is None
    said = {row[0] for row in reach(model).rows if row[2] is None}
    model.set_attn_implementation(NAME)
    model(**FAMILIES[name].example()[0])
    assert set(calls) == said
    model.set_attn_implementation("eager")
    register(model)
    assert model.config._attn_implementation == NAME


@pytest.mark.parametrize("name", OWN_CODE)
def test_code_of_its_own_is_named(name: str) -> None:
    """A family that computes attention itself is refused with the classes that do, and runs as before."""
    model = OWN_CODE[name].build("eager")
    assert reach(model).served == 0
    assert {row[2] for row in reach(model).rows} == {"computes attention in its own code"}
    for words in (reach(model).rows[0][0], "AttentionInterface"):
        assert words in str(why_not(model))
    with pytest.raises(ArgumentError, match="cannot use regard"):
        register(model)
    inputs, _ = OWN_CODE[name].example()
    assert isinstance(model(**inputs, output_attentions=True).attentions[0], torch.Tensor)


def test_classes_of_users() -> None:
    """A module counts by the methods that it has: one that inherits and asks no more does not come."""

    class OwnAttention(transformers.models.bert.modeling_bert.BertSelfAttention):  # type: ignore[misc]
        def forward(self, hidden_states: torch.Tensor, *given: Any, **settings: Any) -> Any:
            return torch.softmax(hidden_states, -1), None

    class Inherits(transformers.BertModel):  # type: ignore[misc]
        pass

    model = Inherits(FAMILIES["BERT"].build("eager").config)
    assert reach(model).served == 2
    model.encoder.layer[0].attention.self = OwnAttention(model.config)
    assert reach(model).rows[0] == ("OwnAttention", 1, "computes attention in its own code")
    assert reach(model).served == 1


def test_what_is_no_model_is_refused() -> None:
    """`why_not` answers, `reach` and `register` raise."""
    assert why_not(nn.Linear(2, 2)) == "it is not a PreTrainedModel of transformers"
    with pytest.raises(ArgumentError, match="reach was given a Linear"):
        reach(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="not a PreTrainedModel"):
        register(nn.Linear(2, 2))
