"""Training in plain PyTorch: one loop for one process or many, exact resume, no pickle.

`train(model, objective, settings, folder=...)` is the whole interface; `objective` provides the examples, their
loss and their evaluation, so this room knows nothing of tasks.
"""

from .checkpoint import CheckpointError
from .events import Decided, Ended, Evaluated, Evaluating, Event, Listener, Saved, SkippedCheckpoint, Started, Stepped
from .listeners import CsvLog, CurvePicture, TensorBoardLog, draw_curves
from .loop import DivergedError, Objective, TrainingResult, train
from .optimizer import layers_above
from .order import DataOrder
from .settings import Batches, Budget, Checkpoints, Evaluation, Machine, Optimizer, TrainingSettings

__all__ = [
    "Batches",
    "Budget",
    "CheckpointError",
    "Checkpoints",
    "CsvLog",
    "CurvePicture",
    "DataOrder",
    "Decided",
    "DivergedError",
    "Ended",
    "Evaluated",
    "Evaluating",
    "Evaluation",
    "Event",
    "Listener",
    "Machine",
    "Objective",
    "Optimizer",
    "Saved",
    "SkippedCheckpoint",
    "Started",
    "Stepped",
    "TensorBoardLog",
    "TrainingResult",
    "TrainingSettings",
    "draw_curves",
    "layers_above",
    "train",
]
