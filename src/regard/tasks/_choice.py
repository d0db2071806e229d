"""Which answers a run keeps: the transformer's, the baseline's, or a mix, as development data prefers.

The weight of a mix is one of five, and its figures are averaged with its neighbours' before they are compared: so few
and so smooth candidates leave little to over-fit. A candidate that is behind the baseline in the main figure or in
macro F1 is out. The transformer alone is kept where nothing is better; of other equals, the one nearest to an even mix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
MACRO = "macro_f1"

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Choice:
    """What answers: `share` of the transformer, the rest of the baseline."""

    share: float = 1.0
    """The transformer's weight: 1 the transformer alone, 0 the baseline alone."""
    trials: Mapping[float, Figures] = field(default_factory=dict)
    """The figures of each weight on the development data; empty if nothing was compared."""

    @property
    def name(self) -> str:
        """`model`, `baseline` or `mix`."""
        return {1.0: "model", 0.0: "baseline"}.get(self.share, "mix")

    def said(self, headline: str, baseline: str) -> str:
        """Say what was kept and why; empty where there was nothing to choose."""
        if not self.trials:
            return ""
        kept = {
            "model": "the transformer alone",
            "baseline": f"the BASELINE alone ({baseline}), NOT the transformer",
            "mix": f"a MIX, {self.share:.0%} transformer and {1 - self.share:.0%} baseline ({baseline})",
        }[self.name]
        named = {1.0: "transformer", 0.0: "baseline", self.share: self.name.replace("model", "transformer")}
        shown = ", ".join(f"{name} {self.trials[one][headline]:.4g}" for one, name in named.items())
        return f"What is saved and answers is {kept}: development {headline} {shown}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        trials = [{"share": share, "figures": dict(figures)} for share, figures in self.trials.items()]
        return {"share": self.share, "uses": self.name, "trials": trials}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Choice:
        """Build from what `to_dict` returned."""
        return cls(float(values["share"]), {float(one["share"]): one["figures"] for one in values["trials"]})


def choose(trials: Mapping[float, Figures], headline: str, goal: str) -> Choice:
    """Return the best of the weights that were tried.

    >>> choose({0.0: {"f1": 0.5}, 0.5: {"f1": 0.6}, 1.0: {"f1": 0.4}}, "f1", "max").name
    'mix'
    """
    sign = 1 if goal == "max" else -1
    watched = [headline] + [MACRO] * (goal == "max" and all(MACRO in one for one in trials.values()))
    shares = sorted(trials)
    scores = [sign * sum(trials[share][name] for name in watched) for share in shares]
    least = trials.get(0.0, {})
    allowed = [all(sign * (trials[share][name] - least.get(name, trials[share][name])) >= 0 for name in watched)
               for share in shares]  # fmt: skip
    if goal == "max" and max(scores) <= 0:  # nothing was found by anything: the simplest
        return Choice(shares[0], dict(trials))
    if allowed[-1] and shares[-1] == 1 and scores[-1] >= max(scores):
        return Choice(1.0, dict(trials))
    if len(shares) > 2:
        padded = [scores[0], *scores, scores[-1]]
        scores = [(padded[i] + 2 * padded[i + 1] + padded[i + 2]) / 4 for i in range(len(scores))]
    best = max(
        (place for place in range(len(shares)) if allowed[place]),
        key=lambda place: (round(scores[place], 9), -abs(shares[place] - 0.5), -shares[place]),
    )
    return Choice(shares[best], dict(trials))
