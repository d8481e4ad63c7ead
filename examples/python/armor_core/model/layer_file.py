"""One compressed layer as the format `factors` stores it: tensors by what their names end in, and words of metadata."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch

from armor_core.factorization import Factorization
from armor_core.packed import Packed

if TYPE_CHECKING:
    from collections.abc import Mapping

LEFT, RIGHT, HISTORY = "armor.left", "armor.right", "armor.history"
VALUES, BITMASK, SHAPE = "armor.core.compressed", "armor.core.bitmask", "armor.core.shape"
ENDINGS = (LEFT, RIGHT, VALUES, BITMASK, SHAPE, HISTORY)
NAME = "layer"
TYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


@dataclasses.dataclass(frozen=True)
class Record:
    """What a layer's file tells of its run: words such as armor.loss, and the loss after every iteration.

    Where factors are trained on, it stays that of the compression.
    """

    words: Mapping[str, str]
    history: torch.Tensor


@dataclasses.dataclass(frozen=True)
class LayerFile:
    """The tensors of a layer, by the ends of their names, and the words of its run."""

    tensors: dict[str, torch.Tensor]
    words: Mapping[str, str]

    @property
    def record(self) -> Record:
        """What it tells of the run."""
        return Record(self.words, self.tensors[HISTORY])

    @property
    def dtypes(self) -> tuple[str, str, str]:
        """The number types of A, S and B."""
        left, core, right = (TYPES[self.tensors[name].dtype] for name in (LEFT, VALUES, RIGHT))
        return left, core, right

    def to_bytes(self) -> bytes:
        """A safetensors file of this layer alone."""
        tensors = {f"{NAME}.{end}": tensor.contiguous() for end, tensor in self.tensors.items()}
        return safetensors.torch.save(tensors, dict(self.words))

    @staticmethod
    def from_bytes(file: bytes) -> LayerFile:
        """Reads what `to_bytes` wrote."""
        length = int.from_bytes(file[:8], "little")
        words = json.loads(file[8 : 8 + length])["__metadata__"]
        tensors = safetensors.torch.load(file)
        return LayerFile({name.removeprefix(f"{NAME}."): tensor for name, tensor in tensors.items()}, words)

    def factorization(self) -> Factorization:
        """The layer for the library, in f32."""
        return Factorization.from_bytes(self.to_bytes(), NAME)

    @staticmethod
    def of_factorization(factors: Factorization) -> LayerFile:
        """The layer in f32."""
        return LayerFile.from_bytes(factors.to_bytes(NAME))

    def packed(self) -> Packed:
        """Packs the layer in its own number types."""
        return Packed(self.factorization(), self.dtypes)

    @staticmethod
    def of_packed(layer: Packed, record: Record) -> LayerFile:
        """The file that a packed layer was made from."""
        factors, sizes = layer.unpack(), layer.sizes
        types = [getattr(torch, name) for name in layer.dtypes]
        arrays = (factors.left(), factors.core_values(), factors.right())
        left, values, right = (torch.from_numpy(array).to(kind) for array, kind in zip(arrays, types, strict=True))
        bits = np.packbits(factors.core_mask(), axis=1, bitorder="little")
        return LayerFile(
            {
                LEFT: left,
                VALUES: values,
                RIGHT: right,
                BITMASK: torch.from_numpy(bits),
                SHAPE: torch.tensor([sizes.rows, sizes.cols]),
                HISTORY: record.history,
            },
            record.words,
        )
