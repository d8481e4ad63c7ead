"""Sums up the inputs of a layer in a dense model and in a compressed one, token by token."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from armor_core.abi import HANDLE, Correction
from armor_core.arrays import matrix_view
from armor_core.library import check, load_library
from armor_core.options import not_negative
from armor_core.token_sums import TokenSums

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class PairAccumulator(TokenSums):
    """Ĥ = E[x̂ x̂ᵀ] and E[x x̂ᵀ] over N tokens, x a layer's input in the dense model and x̂ in the compressed one.

    Any thread may use it, one at a time; several threads are served better by one each, merged at the end.
    """

    PREFIX = "armor_pair_accumulator"

    def __init__(self, inputs: int) -> None:
        """Starts with no token of `inputs` numbers, k; takes about 16 k² bytes."""
        out = HANDLE()
        check(load_library().armor_pair_accumulator_create(not_negative("inputs", inputs), ctypes.byref(out)))
        self._hold(out, {"armor.inputs": str(inputs)})

    def add(self, dense: ArrayLike, compressed: ArrayLike) -> None:
        """Adds the same tokens of both models, (n, k) each, read in place; if an entry is not finite, none of them."""
        kept, dense_view = matrix_view("dense", dense)
        also_kept, compressed_view = matrix_view("compressed", compressed)
        check(load_library().armor_pair_accumulator_add(self, dense_view, compressed_view))
        del kept, also_kept

    def hessian(self) -> np.ndarray:
        """Ĥ, (k, k) of f32; more tokens may follow."""
        array = np.empty((self.inputs, self.inputs), np.float32)
        check(load_library().armor_pair_accumulator_copy_hessian(self, array.ctypes.data, array.size, None))
        return array

    def correct(self, weight: ArrayLike, strength: float = 1.0, ridge: float = 0.01) -> tuple[np.ndarray, Correction]:
        """The weight to factorise under Ĥ in place of W, (m, k), and what it can reach.

        W* = W + γ W E[(x − x̂) x̂ᵀ] (Ĥ + λI)⁻¹, where `strength` is γ, and `ridge` is λ over the mean of diag(Ĥ).
        """
        kept, view = matrix_view("weight", weight)
        array = np.empty((view.rows, view.cols), np.float32)
        told = Correction(struct_size=ctypes.sizeof(Correction))
        call = load_library().armor_pair_accumulator_correct
        check(call(self, view, strength, ridge, array.ctypes.data, array.size, None, ctypes.byref(told)))
        del kept
        return array, told

    def output_error(self, weight: ArrayLike, compressed: ArrayLike) -> float:
        """E‖W x − Ŵ x̂‖² / E‖W x‖² of a weight W, (m, k), and a compressed weight Ŵ, (m, k)."""
        kept, view = matrix_view("weight", weight)
        also_kept, compressed_view = matrix_view("compressed", compressed)
        error = ctypes.c_double()
        call = load_library().armor_pair_accumulator_output_error
        check(call(self, view, compressed_view, ctypes.byref(error)))
        del kept, also_kept
        return error.value
