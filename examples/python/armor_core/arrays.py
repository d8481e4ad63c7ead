"""Hands the memory of numpy's arrays and PyTorch's tensors to the library as it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from armor_core.abi import DTYPES, KINDS, Hessian, Matrix

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def array_view(name: str, data: ArrayLike) -> tuple[np.ndarray, int]:
    """Gives numpy's view of an array, or of a CPU tensor of PyTorch, and its ARMOR_DTYPE_*."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.Tensor):
        data = data.detach().cpu()
        if data.dtype == torch.bfloat16:  # which numpy lacks: its 16 bits as they are
            return np.require(data.view(torch.int16).numpy(), requirements="A"), DTYPES["bfloat16"]
        data = data.numpy()
    array = np.require(data, requirements="A")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.name not in DTYPES:
        raise TypeError(f"{name}: a dtype of {array.dtype}, expected one of {', '.join(DTYPES)}")
    return array, DTYPES[array.dtype.name]


def matrix_view(name: str, data: ArrayLike, *, one_row: bool = False) -> tuple[np.ndarray, Matrix]:
    """Views (rows, cols) in place where its columns lie side by side, else in a copy; keep the array with the view."""
    array, dtype = array_view(name, data)
    if one_row:
        array = array.reshape(1, -1)
    if array.ndim != 2:
        raise ValueError(f"{name}: has {array.ndim} dimensions, expected 2")
    rows, cols = array.shape
    stride, rest = divmod(array.strides[0], array.itemsize)
    if rest or stride < cols or array.strides[1] != array.itemsize:
        array, stride = np.ascontiguousarray(array), cols
    return array, Matrix(array.ctypes.data, rows, cols, stride, dtype)


def hessian_view(data: ArrayLike | None, cols: int) -> tuple[np.ndarray | None, Hessian]:
    """Views a Hessian (k, k), its diagonal (k,), or none (None)."""
    if data is None:
        return None, Hessian(None, cols, 0, KINDS["identity"], 0)
    array, dtype = array_view("hessian", data)
    if array.ndim == 2 and array.shape[0] == array.shape[1]:
        array, view = matrix_view("hessian", data)
        return array, Hessian(view.data, view.rows, view.row_stride, KINDS["full"], dtype)
    if array.ndim != 1:
        raise ValueError(f"hessian: has shape {list(array.shape)}, expected [k, k] or [k]")
    array = np.ascontiguousarray(array)
    return array, Hessian(array.ctypes.data, len(array), 0, KINDS["diagonal"], dtype)
