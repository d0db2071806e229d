"""`regard.attention` itself, and calls of other functions that a listener changed into calls of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .._attention import attention
from ..weights import AttentionWeights, kept
from ._call import Call, Given, Result
from ._untouched import untouched


class Ours(Given):
    """One call of `regard.attention`."""

    def __init__(
        self,
        door: str,
        function: Callable[..., Any],
        args: Any,
        settings: dict[str, Any],
        packed: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(door, function, args, settings, untouched((*args, *settings.values())))
        self._packed = packed
        self._asked: bool = settings.get("need_weights", False)

    @property
    def arguments(self) -> dict[str, Any]:
        """The call as arguments of `regard.attention`, but for weights."""
        given = {**dict(zip(("query", "key", "value"), self._args, strict=False)), **self._settings}
        given.pop("need_weights", None)
        return given

    def changed(self, **arguments: Any) -> Given:
        """Return the call with other arguments."""
        settings = {**self.arguments, **arguments}
        if "need_weights" in self._settings:
            settings["need_weights"] = self._asked
        return Ours(self.door, self._function, (), settings, self._packed)

    def run(self, call: Call) -> Result:
        """Run the call; weights change no bit of the output."""
        if self.reason is not None or not (call.needs or self._asked):
            return Result(self.own(), reason=self.reason)
        with call.consumed():
            if call.apart and not self._asked:
                return Result(self.own(), weights_of(self.arguments))
            return Result(*attention(**self.arguments, need_weights=True))

    def returned(self, result: Result) -> Any:
        """Return the output, with weights where the caller asked for them."""
        if self.reason is not None:
            return result.output
        output = result.output if self._packed is None else result.output.reshape(self._packed)
        return (output, kept(result.weights)) if self._asked and result.weights is not None else output


def weights_of(arguments: dict[str, Any]) -> AttentionWeights:
    """Compute the weights of a call alone, before dropout and without a gradient."""
    with torch.no_grad():
        found: Any = attention(**{**arguments, "dropout": 0.0}, need_weights=True)
    weights: AttentionWeights = found[1]
    return weights
