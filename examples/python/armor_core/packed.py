"""Fast products with a factorised layer."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from armor_core.abi import DTYPES, HANDLE, PackedSizes
from armor_core.arrays import matrix_view
from armor_core.factorization import Factorization
from armor_core.library import Handle, check, load_library
from armor_core.options import constant, not_negative

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Packed(Handle):
    """A factorised layer for fast products, each factor in float32, float16 or bfloat16."""

    def __init__(self, layer: Factorization, dtype: str | tuple[str, str, str] = "bfloat16", threads: int = 0) -> None:
        """Packs a layer, with one dtype for all factors or one each for A, S and B.

        `threads` is 0 for the pool of the process, 1 for the calling thread alone, more for a pool of this layer's own.
        """
        names = (dtype,) * 3 if isinstance(dtype, str) else tuple(dtype)
        if len(names) != 3:
            raise ValueError(f"option dtype: {dtype!r} has {len(names)} names, expected one or three")
        out, (left, core, right) = HANDLE(), (constant("dtype", name, DTYPES) for name in names)
        threads = not_negative("threads", threads)
        check(load_library().armor_packed_create(layer, left, core, right, threads, ctypes.byref(out)))
        super().__init__(out, load_library().armor_packed_free)

    @property
    def sizes(self) -> PackedSizes:
        """The shape of the layer, and the bytes and the ARMOR_DTYPE_* number of each factor."""
        sizes = PackedSizes(ctypes.sizeof(PackedSizes))
        check(load_library().armor_packed_get_sizes(self, ctypes.byref(sizes)))
        return sizes

    @property
    def dtypes(self) -> tuple[str, str, str]:
        """The dtypes of A, S and B."""
        names, sizes = {number: name for name, number in DTYPES.items()}, self.sizes
        return names[sizes.left_dtype], names[sizes.core_dtype], names[sizes.right_dtype]

    def unpack(self) -> Factorization:
        """The layer that was packed, with the numbers of each factor rounded to its dtype."""
        out = HANDLE()
        check(load_library().armor_packed_unpack(self, ctypes.byref(out)))
        return Factorization(out)

    def apply(self, x: ArrayLike) -> np.ndarray:
        """A · (S · (B · x)) of one input (k,), or of every row of a batch (batch, k): (m,) or (batch, m) of f32."""
        single = np.ndim(x) == 1
        kept, view = matrix_view("x", x, one_row=single)
        y = np.empty((view.rows, self.sizes.rows), np.float32)
        check(load_library().armor_packed_apply_batch(self, view, y.ctypes.data, y.shape[1], y.size, None, 0))
        del kept
        return y[0] if single else y
