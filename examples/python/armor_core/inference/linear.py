"""A linear layer that keeps its packed factors alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from armor_core.inference import operator
from armor_core.model.layer_file import LayerFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from armor_core.model.layer_file import Record
    from armor_core.packed import Packed


class PackedModule(torch.nn.Module):
    """What keeps packed layers: they lie on the CPU and keep their number types, wherever the rest of a model goes."""

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> PackedModule:
        device = fn(torch.empty(0)).device
        if device.type != "cpu":
            raise RuntimeError(
                f"packed layers run on the CPU, not on {device}: call armor_core.inference.unpack(model) before"
            )
        return super()._apply(fn, recurse)


class ArmorLinear(PackedModule):
    """y = A (S (B x)) + bias, by the packed kernels on the CPU; x is (..., in_features) of f32, f16 or bf16."""

    def __init__(self, in_features: int, out_features: int, bias: torch.nn.Parameter | None = None) -> None:
        """Makes a layer without factors, which `put` gives it."""
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.bias = bias
        self.layer: Packed | None = None
        self.record: Record | None = None
        self._number = -1

    def put(self, file: LayerFile) -> None:
        """Packs a layer of this shape."""
        layer = file.packed()
        sizes = layer.sizes
        if (sizes.cols, sizes.rows) != (self.in_features, self.out_features):
            raise ValueError(f"is {sizes.rows} × {sizes.cols}, expected {self.out_features} × {self.in_features}")
        self.layer, self.record, self._number = layer, file.record, operator.register(layer)

    def file(self) -> LayerFile:
        """What was packed."""
        return LayerFile.of_packed(self.layer, self.record)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiplies."""
        if x.shape[-1] != self.in_features:
            raise ValueError(f"the last dimension of x is {x.shape[-1]}, expected {self.in_features}")
        y = operator.apply(x, self._number, self.out_features)
        return y if self.bias is None else y + self.bias

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made of: the factors as bytes."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("layer", "record", "_number")}
        return state | {"_file": None if self.layer is None else self.file().to_bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes the copy, which is packed anew."""
        file = state.pop("_file")
        super().__setstate__({**state, "layer": None, "record": None, "_number": -1})
        if file is not None:
            self.put(LayerFile.from_bytes(file))

    def extra_repr(self) -> str:
        """The shape, and the bytes of the factors."""
        size = f", {self.layer.sizes.bytes:,} bytes" if self.layer is not None else ""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}{size}"
