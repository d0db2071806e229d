"""A pretrained model made ready to learn: loaded, on "regard" where that works, with the weights chosen that learn."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from ...errors import ArgumentError, MissingExtraError, install_line
from ...integrations.transformers import has_head, load_pretrained, register, why_not
from ...training import layers_above
from ...weights import AttentionWeights, from_dense
from .._continuing import choose_layers
from ._settings import FineTuning

# The rate for a width of 768, as in BERT's paper; it falls with the square of the width, from the highest that is
# advised for compact models (Turc et al. 2019, arXiv:1908.08962). LoRA's updates are small, so it learns at a higher
# rate, which falls with the width; T5 was trained by a rule that leaves its weights larger.
RATE, WIDTH, HIGHEST = 5e-5, 768, 3e-4
LORA, T5 = 10.0, 6.0


def load_model(head: str, name: str, **config: Any) -> nn.Module:
    """Load a model with a head for a task, in float32 and evaluation mode.

    Args:
        head: what transformers calls the class, `AutoModelForTokenClassification` for one.
        name: a folder, or a name on the hub.
        config: changes of its configuration: `num_labels`, `id2label`, ...

    Raises:
        ArgumentError: there is no such model, or no such head for its kind.
    """
    known = load_pretrained("AutoConfig", name)
    if not has_head(known, head):
        raise ArgumentError(
            f"{name} holds a model of the kind {known.model_type!r}, which transformers has no {head} for. "
            f"{_INSTEAD[head]}"
        )
    model: Any = load_pretrained(head, name, dtype=torch.float32, ignore_mismatched_sizes=True, **config)
    if why_not(model) is None:
        register(model)
    found: nn.Module = model.eval()
    return found


_INSTEAD = {
    "AutoModelForTokenClassification": "Take an encoder: BERT, RoBERTa, DeBERTa, ModernBERT, ELECTRA, ...",
    "AutoModelForSequenceClassification": "Take an encoder: BERT, RoBERTa, DeBERTa, ModernBERT, ELECTRA, ...",
    "AutoModelForImageClassification": "Take an encoder of pictures: ViT, DeiT, Swin, DINOv2, ...",
    "AutoModelForCausalLM": "Take a causal model: GPT-2, Llama, Qwen, ...",
    "AutoModelForSeq2SeqLM": "Take an encoder with a decoder: T5, BART, Marian, mBART, ...",
}


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a model; padding is on the right, and has an id."""
    tokenizer = load_pretrained("AutoTokenizer", name)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = "right"
    return tokenizer


def choose_weights(model: nn.Module, settings: FineTuning) -> nn.Module:
    """Freeze what shall not learn; with LoRA return the model of peft that holds the updates.

    Raises:
        MissingExtraError: LoRA without the package peft.
    """
    if settings.lora:
        return _with_updates(model, layers_above(model), settings.lora)
    choose_layers(model, settings.train_layers, freeze_embeddings=settings.freeze_embeddings)
    return model


def _with_updates(model: nn.Module, above: dict[str, int], rank: int) -> nn.Module:
    try:
        import peft
    except ModuleNotFoundError as error:
        if error.name not in ("peft", "accelerate"):
            raise
        raise MissingExtraError(f"LoRA needs the package peft; install it with {install_line('peft')}.") from None
    deepest = max(above.values(), default=0)
    matrices = {name.removesuffix(".weight") for name, weight in model.named_parameters() if weight.ndim == 2}
    kinds = (nn.Linear, *_transposed())
    inside = [
        name
        for name, module in model.named_modules()
        if isinstance(module, kinds) and name in matrices and 0 < above[f"{name}.weight"] < deepest
    ]
    if not inside:
        raise ArgumentError(f"LoRA finds no linear layer in the stacks of a {type(model).__name__}; leave lora out.")
    # A new head learns whole, with what lies between it and the layers (BERT's pooler).
    whole: Any = model
    new = whole.get_output_embeddings() is None
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=inside)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that goes away
        tuned: Any = peft.get_peft_model(model, config)
    for name, weight in tuned.get_base_model().named_parameters():
        if new and above.get(name) == 0:
            weight.requires_grad_(True)
    found: nn.Module = tuned
    return found


def _transposed() -> tuple[type, ...]:
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layers

    return (Conv1D,)


def merged(model: nn.Module) -> nn.Module:
    """Return a model whose low-rank updates are added to its weights; one without any is returned as it is."""
    if not hasattr(model, "merge_and_unload"):
        return model
    tuned: Any = model
    plain: nn.Module = tuned.merge_and_unload()
    for weight in plain.parameters():
        weight.requires_grad_(True)
    return plain.eval()


def fitting_rate(model: Any, settings: FineTuning) -> float:
    """Return the highest learning rate that suits a model."""
    config = model.config
    width = getattr(config, "hidden_size", None) or getattr(config, "d_model", None) or WIDTH
    narrow = WIDTH / width
    rate = LORA * RATE * narrow if settings.lora else min(HIGHEST, RATE * narrow**2)
    return rate * T5 if "t5" in config.model_type else rate


def named_weights(output: Any, *parts: str) -> dict[str, AttentionWeights]:
    """Return the weights of every layer by name, of the parts of a model's output: `encoder.0`, `decoder.0`, ...

    Parts are the names of outputs that end in `attentions`.
    """
    found = {}
    for part in parts:
        for number, weights in enumerate(getattr(output, part) or ()):
            if weights is not None:
                lazy = weights if isinstance(weights, AttentionWeights) else from_dense(weights)
                found[f"{_PARTS[part]}.{number}"] = lazy
    return found


_PARTS = {
    "attentions": "layers",
    "encoder_attentions": "encoder.layers",
    "decoder_attentions": "decoder.layers",
    "cross_attentions": "decoder.cross.layers",
}
