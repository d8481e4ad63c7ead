"""Sums up the Hessian of a layer's inputs."""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING, Callable

import numpy as np

from armor_core.abi import HANDLE, KINDS
from armor_core.arrays import matrix_view
from armor_core.library import Handle, c_name, check, copied_text, load_library
from armor_core.options import constant, not_negative

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Accumulator(Handle):
    """The Hessian of a layer's inputs, H = (1/N) Σ x xᵀ over N tokens, or its diagonal, summed up piece by piece.

    Any thread may use it, one at a time; several threads are served better by one each, merged at the end.
    """

    def __init__(self, inputs: int, kind: str = "diagonal") -> None:
        """Starts with no token of `inputs` numbers, k; `kind` is diagonal or full."""
        out = HANDLE()
        number = constant("kind", kind, KINDS)
        check(load_library().armor_accumulator_create(not_negative("inputs", inputs), number, ctypes.byref(out)))
        super().__init__(out, load_library().armor_accumulator_free)
        self.inputs, self.kind = inputs, kind

    @classmethod
    def from_bytes(cls, file: bytes, name: str) -> Accumulator:
        """Reads the accumulator of `name` from the bytes of a safetensors file."""
        out = HANDLE()
        check(load_library().armor_accumulator_deserialize(file, len(file), c_name(name), ctypes.byref(out)))
        made = cls.__new__(cls)
        Handle.__init__(made, out, load_library().armor_accumulator_free)
        metadata = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])["__metadata__"]
        made.inputs, made.kind = int(metadata["armor.inputs"]), metadata["armor.hessian"]
        return made

    def to_bytes(self, name: str) -> bytes:
        """Writes a safetensors file; `name` is the weight's without .weight."""
        return copied_text(load_library().armor_accumulator_serialize, self, c_name(name))

    def __reduce__(self) -> tuple[Callable[..., Accumulator], tuple[bytes, str]]:
        """Pickled, it takes what it has summed up to another process."""
        return Accumulator.from_bytes, (self.to_bytes("pickled"), "pickled")

    def add(self, tokens: ArrayLike) -> None:
        """Adds tokens, (n, k), read in place; those with an entry that is not finite are refused as a whole."""
        kept, matrix = matrix_view("tokens", tokens)
        check(load_library().armor_accumulator_add(self, matrix))
        del kept

    def merge(self, other: Accumulator) -> None:
        """Adds what another has summed up."""
        check(load_library().armor_accumulator_merge(self, other))

    @property
    def tokens(self) -> int:
        """How many tokens were added."""
        tokens = ctypes.c_uint64()
        check(load_library().armor_accumulator_tokens(self, ctypes.byref(tokens)))
        return tokens.value

    def hessian(self) -> np.ndarray:
        """H, (k, k) of f32, or its diagonal, (k,); more tokens may follow."""
        array = np.empty((self.inputs,) * (2 if self.kind == "full" else 1), np.float32)
        check(load_library().armor_accumulator_copy(self, array.ctypes.data, array.size, None))
        return array
