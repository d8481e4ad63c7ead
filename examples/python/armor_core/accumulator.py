"""Sums up the Hessian of a layer's inputs."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from armor_core.abi import HANDLE, KINDS
from armor_core.arrays import matrix_view
from armor_core.library import check, load_library
from armor_core.options import constant, not_negative
from armor_core.token_sums import TokenSums

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Accumulator(TokenSums):
    """The Hessian of a layer's inputs, H = (1/N) Σ x xᵀ over N tokens, or its diagonal, summed up piece by piece.

    Any thread may use it, one at a time; several threads are served better by one each, merged at the end.
    """

    PREFIX = "armor_accumulator"

    def __init__(self, inputs: int, kind: str = "diagonal") -> None:
        """Starts with no token of `inputs` numbers, k; `kind` is diagonal or full."""
        out = HANDLE()
        number = constant("kind", kind, KINDS)
        check(load_library().armor_accumulator_create(not_negative("inputs", inputs), number, ctypes.byref(out)))
        self._hold(out, {"armor.inputs": str(inputs), "armor.hessian": kind})

    def _hold(self, handle: ctypes.c_void_p, metadata: dict[str, str]) -> None:
        super()._hold(handle, metadata)
        self.kind = metadata["armor.hessian"]

    def add(self, tokens: ArrayLike) -> None:
        """Adds tokens, (n, k), read in place; those with an entry that is not finite are refused as a whole."""
        kept, matrix = matrix_view("tokens", tokens)
        check(load_library().armor_accumulator_add(self, matrix))
        del kept

    def hessian(self) -> np.ndarray:
        """H, (k, k) of f32, or its diagonal, (k,); more tokens may follow."""
        array = np.empty((self.inputs,) * (2 if self.kind == "full" else 1), np.float32)
        check(load_library().armor_accumulator_copy(self, array.ctypes.data, array.size, None))
        return array
