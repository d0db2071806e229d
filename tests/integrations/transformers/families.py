"""One small model of each family, random weights, and inputs for it."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.doors.models import distance

transformers: Any = importlib.import_module("transformers")

TOKENS, BATCH, WORDS = 9, 2, 61


@dataclass(frozen=True)
class Family:
    """How to build one family and what it takes."""

    model: str
    """Name of the model class."""
    settings: dict[str, Any]
    """Of its configuration."""
    inputs: str = "text"
    """"text", "image", "sound", "pair" (encoder and decoder) or "clip"."""
    generates: bool = False
    """Whether it continues a text."""

    def build(self, implementation: str) -> nn.Module:
        """Return the model in eval mode, the same weights whatever the implementation."""
        torch.manual_seed(0)
        kind = getattr(transformers, self.model)
        model = kind(kind.config_class(**self.settings))
        for name, parameter in model.named_parameters():  # fresh models attend evenly, with biases and sinks of 0
            if "norm" not in name.lower():
                nn.init.normal_(parameter, std=0.2)
        model.set_attn_implementation(implementation)
        return model.eval()

    def example(self, padding: str | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Return inputs, and where the tokens of the main sequence are real."""
        torch.manual_seed(1)
        real = torch.ones(BATCH, TOKENS, dtype=torch.bool)
        if padding is not None:
            real[0, slice(TOKENS - 4, None) if padding == "right" else slice(0, 4)] = False
        text = {"input_ids": torch.randint(4, WORDS, (BATCH, TOKENS)), "attention_mask": real.long()}
        target = {"decoder_input_ids": torch.randint(4, WORDS, (BATCH, 5))}
        image = {"pixel_values": torch.randn(BATCH, 3, 16, 16)}
        kinds: dict[str, Callable[[], dict[str, Tensor]]] = {
            "text": lambda: text,
            "image": lambda: image,
            "sound": lambda: {"input_features": torch.randn(BATCH, 8, 2 * TOKENS), **target},
            "pair": lambda: {**text, **target},
            "clip": lambda: {**text, **image},
        }
        return kinds[self.inputs](), real


BERT: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 64,
}  # fmt: skip
_LLAMA: dict[str, Any] = {**BERT, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
_SOUND_OR_PAIR: dict[str, Any] = {
    "vocab_size": WORDS, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip
IMAGE: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 16,
    "patch_size": 4,
}  # fmt: skip

FAMILIES: dict[str, Family] = {
    "BERT": Family("BertModel", BERT),
    "RoBERTa": Family("RobertaModel", {**BERT, "pad_token_id": 0}),
    "DistilBERT": Family("DistilBertModel", {
        "vocab_size": WORDS, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64,
    }),
    "GPT-2": Family("GPT2LMHeadModel", {
        "vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 0,
    }, generates=True),
    "Llama": Family("LlamaForCausalLM", _LLAMA, generates=True),
    "Mistral": Family("MistralForCausalLM", {**_LLAMA, "sliding_window": 4}, generates=True),
    "Qwen2": Family("Qwen2ForCausalLM", {**_LLAMA, "use_sliding_window": True, "sliding_window": 4,
                                         "max_window_layers": 1}, generates=True),
    "Qwen3": Family("Qwen3ForCausalLM", _LLAMA, generates=True),
    "Gemma-2": Family("Gemma2ForCausalLM", {
        **_LLAMA, "sliding_window": 4, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 8,
    }, generates=True),
    "GPT-OSS": Family("GptOssForCausalLM", {
        **_LLAMA, "sliding_window": 4, "num_local_experts": 2, "num_experts_per_tok": 1,
    }, generates=True),
    "ModernBERT": Family("ModernBertModel", {
        **BERT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
        "local_attention": 4, "global_attn_every_n_layers": 2,
    }),
    "T5": Family("T5ForConditionalGeneration", {
        "vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
        "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1,
    }, "pair", generates=True),
    "BART": Family("BartForConditionalGeneration", {
        **_SOUND_OR_PAIR, "max_position_embeddings": 64, "forced_eos_token_id": None,
    }, "pair", generates=True),
    "Whisper": Family("WhisperModel", {
        **_SOUND_OR_PAIR, "num_mel_bins": 8, "max_source_positions": TOKENS, "max_target_positions": 16,
    }, "sound"),
    "ViT": Family("ViTModel", IMAGE, "image"),
    "Swin": Family("SwinModel", {
        "image_size": 16, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4,
    }, "image"),
    "CLIP": Family("CLIPModel", {
        "text_config": {**BERT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}, "vision_config": IMAGE,
        "projection_dim": 16,
    }, "clip"),
}  # fmt: skip

OWN_CODE: dict[str, Family] = {
    "DeBERTa-v2": Family("DebertaV2Model", {**BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "Longformer": Family("LongformerModel", {**BERT, "attention_window": 4, "pad_token_id": 0}),
}


def tensors(outputs: Any) -> dict[str, Tensor]:
    """Return the states that a model computes, by name, without attentions and caches."""
    wanted = ("logits", "last_hidden_state", "encoder_last_hidden_state", "text_embeds", "image_embeds")
    return {name: outputs[name] for name in wanted if outputs.get(name) is not None}


def real_part(tensor: Tensor, real: Tensor) -> Tensor:
    """Leave out the states of padding tokens, which no one defines."""
    return tensor[real] if tensor.shape[:2] == real.shape else tensor


def assert_states_agree(found: Any, expected: Any, real: Tensor, limit: float = 5e-6) -> None:
    """Compare every state of real tokens that a model returns, and its dtype."""
    states, others = tensors(expected), tensors(found)
    assert states
    assert states.keys() == others.keys()
    for name, state in states.items():
        assert others[name].dtype == state.dtype, name
        assert distance(real_part(others[name], real), real_part(state, real)) < limit, name


def set_dropout(model: nn.Module, chance: float) -> None:
    """Let every part of a model drop with this chance."""
    for part in model.modules():
        for name, value in list(vars(part).items()):
            if "drop" in name and isinstance(value, float):
                setattr(part, name, chance)
        if isinstance(part, nn.Dropout):
            part.p = chance


def write(model: Any, steps: int, **settings: Any) -> Any:
    """Let a model write so many tokens, always the likeliest."""
    settings = {"num_beams": 1, "disable_compile": True, **settings}
    return model.generate(max_new_tokens=steps, min_new_tokens=steps, do_sample=False, **settings)
