"""Which attention modules of a model use an implementation registered with transformers, and which do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import nn

from ...errors import ArgumentError
from ._package import hugging_face

NAME = "regard"
_COMPUTE = {"softmax", "scaled_dot_product_attention", "multi_head_attention_forward"}
_OWN = "computes attention in its own code"
_APART = (
    "reads a configuration that set_attn_implementation does not reach; build or load the model with "
    f'attn_implementation="{NAME}"'
)


@dataclass(frozen=True)
class Reach:
    """The attention modules of a model: which of them "regard" serves, and why it does not serve the others."""

    rows: tuple[tuple[str, int, str | None], ...]
    """Class, how many of it the model holds, and the reason why they stay as they are, or None if they come."""

    @property
    def served(self) -> int:
        """How many modules come."""
        return sum(count for _, count, reason in self.rows if reason is None)

    def __repr__(self) -> str:
        """Show a line for each class."""
        total = sum(count for _, count, _ in self.rows)
        lines = [f'{self.served} of {total} attention modules on attn_implementation="{NAME}"']
        lines += [f"   {name} ({count}): {reason or 'yes'}" for name, count, reason in self.rows]
        return "\n".join(lines)


def reach(model: nn.Module) -> Reach:
    """Say for each kind of attention in a model whether `attn_implementation="regard"` serves it.

    Args:
        model: a `PreTrainedModel`, composite or not; it need not be switched over.

    Returns:
        A `Reach`, which prints as a table. A module comes if its code asks transformers' `AttentionInterface` and
        reads a configuration that is set to "regard", or that `set_attn_implementation` would set.

    Raises `ArgumentError` for anything else than a `PreTrainedModel`. Cost: reads the code of each class once.

    >>> from transformers import BertConfig, BertModel
    >>> tiny = BertConfig(num_hidden_layers=2, hidden_size=8, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    >>> reach(BertModel(tiny))
    2 of 2 attention modules on attn_implementation="regard"
       BertSelfAttention (2): yes
    """
    kind = hugging_face("modeling_utils").PreTrainedModel
    if not isinstance(model, kind):
        raise ArgumentError(f"reach was given a {type(model).__name__}; it takes a PreTrainedModel of transformers.")
    parts = [part for part in model.modules() if isinstance(part, kind) and part._can_set_attn_implementation()]
    switched = {id(config) for part in parts for config in _nested(part.config)}
    found: Counter[tuple[str, str | None]] = Counter()
    for part in model.modules():
        name, (words, asks) = type(part).__name__, _code(type(part))
        if asks:
            config = getattr(part, "config", None)
            comes = id(config) in switched or getattr(config, "_attn_implementation", NAME) == NAME
            found[name, None if comes else _APART] += 1
        elif isinstance(part, nn.MultiheadAttention) or ("att" in name.lower() and words & _COMPUTE):
            found[name, _OWN] += 1
    return Reach(tuple((name, count, reason) for (name, reason), count in found.items()))


def why_not(model: nn.Module) -> str | None:
    """Say why `attn_implementation="regard"` would have no effect on a model, or None if it has.

    transformers accepts any registered name for every model, also where the model's code never asks for it (DeBERTa,
    Longformer), or asks a configuration that nobody sets (`VisionEncoderDecoderModel`, once it is built): such a model
    runs its own attention without a word. Where a part of a model comes and another does not, the answer is None;
    `reach` names both.
    """
    if not isinstance(model, hugging_face("modeling_utils").PreTrainedModel):
        return "it is not a PreTrainedModel of transformers"
    found = reach(model)
    if found.served:
        return None
    apart = [name for name, _, reason in found.rows if reason == _APART]
    if apart:
        return f"{', '.join(apart)} {_APART}"
    named = f" ({', '.join(name for name, _, _ in found.rows)})" if found.rows else ""
    return (
        f"its code computes attention itself{named}, without transformers' AttentionInterface; "
        "what output_attentions=True gives there stays as it is"
    )


def _nested(config: Any) -> Iterator[Any]:
    """Yield what `set_attn_implementation` sets for a part: its configuration and those named in it."""
    yield config
    for name in getattr(config, "sub_configs", ()):
        if getattr(config, name, None) is not None:
            yield from _nested(getattr(config, name))


def spoken(kind: type) -> frozenset[str]:
    """Return the names that the methods of a class use, and the words that stand in them."""
    return _code(kind).words


class _Code(NamedTuple):
    """What the methods of a class say: their words, and whether they look an implementation up."""

    words: frozenset[str]
    asks: bool


_codes: WeakKeyDictionary[type, _Code] = WeakKeyDictionary()


def _code(kind: type) -> _Code:
    if kind not in _codes:
        interface = hugging_face("modeling_utils").AttentionInterface
        every: set[str] = set()
        asks = False
        for function in _functions(kind):
            words = set(_words(function.__code__))
            every |= words
            if any(isinstance(function.__globals__.get(word), interface) for word in words):
                # `getattr` on the interface, in place of a look-up, never finds an implementation (Kosmos-2.5).
                asks |= "get_interface" in words or "getattr" not in words
        _codes[kind] = _Code(frozenset(every), asks)
    return _codes[kind]


def _functions(kind: type) -> Iterator[FunctionType]:
    """Yield the methods that objects of a class have, without those of `nn.Module`, and what decorators wrap."""
    names = {name for base in kind.__mro__ if base not in nn.Module.__mro__ for name in vars(base)}
    waiting = [getattr(kind, name, None) for name in sorted(names)]
    seen: set[int] = set()
    while waiting:
        function = waiting.pop()
        if isinstance(function, FunctionType) and id(function) not in seen:
            seen.add(id(function))
            yield function
            waiting += [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]


def _filled(cell: CellType) -> bool:
    """Return whether a cell has contents; one of a name that was never bound has none."""
    try:
        cell.cell_contents  # noqa: B018 - asked, not used
    except ValueError:
        return False
    return True


def _words(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple):
            yield from (word for word in constant if isinstance(word, str))
        elif isinstance(constant, CodeType):
            yield from _words(constant)
