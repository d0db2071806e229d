"""Kernels in Triton, behind the contract of every backend: for GPUs, and in Triton's interpreter for whoever checks.

`Triton` is the backend. What is computed stands in `kernels/`, tiles by device in `_table.py`.
"""

from ._available import interpreted, problem, version
from ._backend import Triton

__all__ = ["Triton", "interpreted", "problem", "version"]
