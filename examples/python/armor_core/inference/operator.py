"""The operator of PyTorch that multiplies with a packed layer, on the memory of the tensor itself."""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from armor_core.packed import Packed

# Operators take tensors and numbers: a number stands for each layer.
_layers: weakref.WeakValueDictionary[int, Packed] = weakref.WeakValueDictionary()
_numbers = itertools.count()


def register(layer: Packed) -> int:
    """The number of a layer, which is forgotten with it."""
    number = next(_numbers)
    _layers[number] = layer
    return number


@torch.library.custom_op("armor::apply", mutates_args=(), device_types="cpu")
def apply(x: torch.Tensor, layer: int, outputs: int) -> torch.Tensor:
    """A · (S · (B · x)) of every vector of x, (..., k), as (..., outputs) in the type of x; sums are f32."""
    vectors = x.reshape(-1, x.shape[-1])
    if len(vectors) == 0:
        return x.new_empty((*x.shape[:-1], outputs))
    product = torch.from_numpy(_layers[layer].apply(vectors))
    return product.to(x.dtype).reshape(*x.shape[:-1], outputs)


@apply.register_fake
def _(x: torch.Tensor, layer: int, outputs: int) -> torch.Tensor:  # noqa: ARG001 - as the operator
    return x.new_empty((*x.shape[:-1], outputs))


def _refuse(_context: object, _gradient: torch.Tensor) -> None:
    raise RuntimeError("packed layers have no gradients: armor_core.inference.unpack(model) makes factors to train")


apply.register_autograd(_refuse)
