"""Values that somebody may pass by mistake, each valid for few parameters or none."""

import math

import numpy as np
import torch

BAD: dict[str, object] = {
    "None": None,
    "True": True,
    "minus one": -1,
    "zero": 0,
    "one half": 0.5,
    "NaN": math.nan,
    "infinity": math.inf,
    "complex": 1j,
    "2**40": 2**40,
    "2**63": 2**63,
    "2**64": 2**64,
    "-2**63": -(2**63),
    "text": "three",
    "digit": "3",
    "bytes": b"3",
    "empty list": [],
    "list of None": [None],
    "ragged list": [[1], [2, 3]],
    "dict": {},
    "dict of names": {"a": 1},
    "object": object(),
    "module": math,
    "NumPy NaN": np.float64(math.nan),
    "NumPy bool": np.bool_(True),
    "NumPy array": np.ones((2, 2)),
    "NumPy texts": np.array(["a", "b"]),
    "no dimension": torch.tensor(0.5),
    "empty tensor": torch.empty(0),
    "rank 6": torch.zeros(1, 1, 1, 1, 1, 1),
    "integers": torch.ones(2, 3, dtype=torch.int64),
    "bytes of a tensor": torch.ones(2, 3, dtype=torch.uint8),
    "bools": torch.ones(2, 3, dtype=torch.bool),
    "complex tensor": torch.ones(2, 3, dtype=torch.complex64),
    "half": torch.ones(2, 3, dtype=torch.float16),
    "meta": torch.ones(1, 2, 3, 4, device="meta"),
    "NaN tensor": torch.full((2, 3), math.nan),
}
