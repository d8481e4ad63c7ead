"""From packed layers to factors that are tensors of PyTorch, and back, without loss."""

from __future__ import annotations

import numpy as np
import torch

from armor_core.inference.factor_linear import FactorLinear
from armor_core.inference.linear import ArmorLinear
from armor_core.model.layer_file import BITMASK, HISTORY, LEFT, RIGHT, SHAPE, VALUES, LayerFile

PARTS = ("all", "wrappers", "none")


def unpack(model: torch.nn.Module, dtype: torch.dtype = torch.float32, *, train: str = "all") -> torch.nn.Module:
    """Makes every packed layer of a model a FactorLinear, in place, with its numbers in `dtype`; gives the model.

    `train` says which factors get gradients: "all", "wrappers" or "none". Which values a core keeps does not change.
    """
    if train not in PARTS:
        raise ValueError(f"train: {train!r}, expected one of {', '.join(PARTS)}")
    for parent, name, layer in _children(model, ArmorLinear):
        made = factor_linear(layer.file(), dtype, layer.bias)
        made.left.requires_grad_(train != "none")
        made.right.requires_grad_(train != "none")
        made.values.requires_grad_(train == "all")
        setattr(parent, name, made.train(layer.training))
    return model


def pack(model: torch.nn.Module, dtype: str | tuple[str, str, str] | None = None) -> torch.nn.Module:
    """Makes every FactorLinear of a model a packed layer, in place; gives the model.

    Each factor is rounded to `dtype`, one for all or one each for A, S and B; None is what it had before `unpack`.
    """
    for parent, name, layer in _children(model, FactorLinear):
        types = layer.dtypes if dtype is None else (dtype,) * 3 if isinstance(dtype, str) else dtype
        made = ArmorLinear(layer.in_features, layer.out_features, layer.bias)
        made.put(file_of(layer, types))
        setattr(parent, name, made.train(layer.training))
    return model


def _children(
    model: torch.nn.Module, kind: type[torch.nn.Module]
) -> list[tuple[torch.nn.Module, str, torch.nn.Module]]:
    """The modules of a class, with their parents and their names there."""
    found = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()]
    return [(parent, name, child) for parent, name, child in found if isinstance(child, kind)]


def factor_linear(file: LayerFile, dtype: torch.dtype, bias: torch.nn.Parameter | None = None) -> FactorLinear:
    """Makes a layer's factors tensors of PyTorch."""
    rows, cols = file.tensors[SHAPE].tolist()
    group = int(file.words["armor.pattern"].split(":")[1])
    mask = np.unpackbits(file.tensors[BITMASK].numpy(), axis=1, count=cols, bitorder="little")
    columns = torch.from_numpy((np.nonzero(mask)[1] % group).astype(np.uint8).reshape(rows, -1))
    left, values, right = (file.tensors[name].to(dtype) for name in (LEFT, VALUES, RIGHT))
    return FactorLinear((left, values, columns, right), (rows, cols, group), bias, (file.dtypes, file.record))


def file_of(layer: FactorLinear, dtypes: tuple[str, str, str]) -> LayerFile:
    """What is stored of a layer, rounded to these types."""
    rows, cols, group = layer.out_features, layer.in_features, layer.group
    columns = layer.columns.cpu().numpy().reshape(rows, cols // group, -1)
    mask = np.zeros((rows, cols // group, group), bool)
    np.put_along_axis(mask, columns.astype(np.int64), values=True, axis=2)
    factors = [
        factor.detach().to("cpu", getattr(torch, kind), copy=True)
        for factor, kind in zip((layer.left, layer.values, layer.right), dtypes, strict=True)
    ]
    left, values, right = factors
    bits = torch.from_numpy(np.packbits(mask.reshape(rows, cols), axis=1, bitorder="little"))
    history, words = layer.record.history, layer.record.words
    shape = torch.tensor([rows, cols])
    return LayerFile({LEFT: left, VALUES: values, RIGHT: right, BITMASK: bits, SHAPE: shape, HISTORY: history}, words)
