"""Studies: experiments about attention, each one function that returns a table, a picture and a short reading.

| study | what it shows |
|---|---|
| `scaling` | dot products scaled and not, over widths of heads |
| `regularization` | dropout and the place of the layer norm, trained on real code |
| `positions` | sinusoidal, learned, rotary, ALiBi, relative: pictures, similarity, longer texts than trained on |
| `linear` | linear against softmax attention: time, memory, crossover, weights, recall |
| `heads` | what the heads of a trained model do, and what it loses without each |
| `long-range` | ListOps, nested lists whose every token counts: positions, softmax and linear, cheap baselines |

Each takes its settings (a seed, `quick` or `full`) and tells a `progress` how far it is. `Study.save(folder)` writes
the figures as JSON beside the picture, and `redraw(path)` draws it again from there. On the command line:
`regard study NAME`.
"""

from ._catalogue import STUDIES, Entry, load, redraw
from ._heads import HeadsSettings, heads
from ._linear import LinearSettings, linear
from ._long_range import LongRangeSettings, long_range
from ._positions import PositionsSettings, positions
from ._regularization import RegularizationSettings, regularization
from ._scaling import ScalingSettings, scaling
from ._study import Progress, Size, Study, StudySettings, Table

__all__ = [
    "STUDIES",
    "Entry",
    "HeadsSettings",
    "LinearSettings",
    "LongRangeSettings",
    "PositionsSettings",
    "Progress",
    "RegularizationSettings",
    "ScalingSettings",
    "Size",
    "Study",
    "StudySettings",
    "Table",
    "heads",
    "linear",
    "load",
    "long_range",
    "positions",
    "redraw",
    "regularization",
    "scaling",
]
