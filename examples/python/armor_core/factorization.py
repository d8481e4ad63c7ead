"""Factorises a layer, and reads its factors."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from armor_core.abi import HANDLE, Report, Sizes
from armor_core.arrays import hessian_view, matrix_view
from armor_core.library import Handle, c_name, check, copied_text, load_library
from armor_core.options import Options
from armor_core.progress import ProgressFunction, run_with_progress

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike


def factorize(
    weight: ArrayLike,
    hessian: ArrayLike | None = None,
    options: Options | None = None,
    progress: ProgressFunction | None = None,
) -> Factorization:
    """Factorises a weight (m, k) under the Hessian of its inputs: (k, k), its diagonal (k,), or None for none.

    f32, f64, f16 and bf16 (PyTorch's, or ml_dtypes') are read in place. `progress` is called after every iteration, on
    another thread; where it returns False the run is cancelled and its best state returned.
    """
    kept, matrix = matrix_view("weight", weight)
    also_kept, view = hessian_view(hessian, matrix.cols)
    made = (options or Options()).create()

    def call(watch: Any) -> Factorization:  # noqa: ANN401 - ctypes' own function
        out = HANDLE()
        check(load_library().armor_factorize(matrix, view, made, watch, None, ctypes.byref(out)))
        _ = kept, also_kept  # the memory that the views are of has to live until here
        return Factorization(out)  # freed also where no one waits for it any more

    return run_with_progress(call, progress)


class Factorization(Handle):
    """A factorised layer, A · S · B for the caller's own weight; it never changes, and any thread may read it."""

    def __init__(self, handle: ctypes.c_void_p) -> None:
        super().__init__(handle, load_library().armor_factorization_free)

    @classmethod
    def from_bytes(cls, file: bytes, name: str) -> Factorization:
        """Reads the factorisation of `name` from the bytes of a safetensors file."""
        out = HANDLE()
        check(load_library().armor_factorization_deserialize(file, len(file), c_name(name), ctypes.byref(out)))
        return cls(out)

    def to_bytes(self, name: str) -> bytes:
        """Writes a safetensors file; `name` is the weight's without .weight."""
        return copied_text(load_library().armor_factorization_serialize, self, c_name(name))

    @property
    def sizes(self) -> Sizes:
        """The shapes of all arrays."""
        sizes = Sizes(ctypes.sizeof(Sizes))
        check(load_library().armor_factorization_get_sizes(self, sizes))
        return sizes

    @property
    def report(self) -> Report:
        """The record of the run: its losses, iterations, sizes and time."""
        report = Report(ctypes.sizeof(Report))
        check(load_library().armor_factorization_get_report(self, report))
        return report

    @property
    def stop_reason(self) -> str:
        """Why the run ended, in a word."""
        return load_library().armor_stop_reason_name(self.report.stop_reason).decode()

    def _copy(self, call: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
        array = np.empty(shape, dtype)
        check(getattr(load_library(), f"armor_factorization_{call}")(self, array.ctypes.data, array.size, None))
        return array

    def left(self) -> np.ndarray:
        """A's blocks, (blocks, p, p) of f32; a smaller last one is padded with zeros."""
        s = self.sizes
        return self._copy("copy_left", (s.left_blocks, s.left_block, s.left_block))

    def right(self) -> np.ndarray:
        """B's blocks, (blocks, q, q), alike."""
        s = self.sizes
        return self._copy("copy_right", (s.right_blocks, s.right_block, s.right_block))

    def core_values(self) -> np.ndarray:
        """The core's kept values, (m, kN/M) of f32, by row in ascending column order."""
        s = self.sizes
        return self._copy("copy_core_values", (s.rows, s.core_values // s.rows))

    def core_mask(self) -> np.ndarray:
        """Which entries the core keeps, (m, k) of bool."""
        s = self.sizes
        bits = self._copy("copy_core_bitmask", (s.rows, s.core_bitmask // s.rows), np.uint8)
        return np.unpackbits(bits, axis=1, count=s.cols, bitorder="little").astype(bool)

    def core(self) -> np.ndarray:
        """S, (m, k) of f32, zeros included."""
        s = self.sizes
        return self._copy("copy_core_dense", (s.rows, s.cols))

    def history(self) -> np.ndarray:
        """The loss of the initial mask, then after every iteration: (iterations + 1,) of f64."""
        return self._copy("copy_history", (self.sizes.history,), np.float64)

    def reconstruct(self) -> np.ndarray:
        """A · S · B, (m, k) of f32: what replaces the weight."""
        s = self.sizes
        return self._copy("reconstruct", (s.rows, s.cols))

    def apply(self, x: ArrayLike) -> np.ndarray:
        """A · (S · (B · x)) for one input x (k,): (m,) of f32. A plain reference, not a fast kernel."""
        x = np.ascontiguousarray(x, np.float32)
        y = np.empty(self.sizes.rows, np.float32)
        check(load_library().armor_factorization_apply(self, x.ctypes.data, x.size, y.ctypes.data, y.size, None))
        return y

    def output_error(self, weight: ArrayLike, hessian: ArrayLike) -> float:
        """The relative output error tr(E H Eᵀ) / tr(W H Wᵀ), E = W - A · S · B, of the weight W (m, k).

        The Hessian, (k, k) or its diagonal (k,), may be one held out: that says what the fit is worth.
        """
        (kept, matrix), out = matrix_view("weight", weight), ctypes.c_double()
        also_kept, view = hessian_view(hessian, matrix.cols)
        check(load_library().armor_factorization_output_error(self, matrix, view, ctypes.byref(out)))
        del kept, also_kept
        return out.value
