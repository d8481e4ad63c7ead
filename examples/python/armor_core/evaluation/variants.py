"""The models that are compared with the dense one: the compressed model, and the dense one with rounded layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from armor_core.calibration.layers import find_layers
from armor_core.calibration.names import Checkpoint, match
from armor_core.evaluation.measure import Variant
from armor_core.model.load import load
from armor_core.model.rounding import bits_per_weight, round_to_nearest

if TYPE_CHECKING:
    import torch
    import transformers

    from armor_core.model.stored import StoredModel


def compressed(out: StoredModel, stored: StoredModel, layers: dict[str, bool], device: str) -> Variant:
    """The compressed model; its bits a weight are those of the layers, where it has them by these names."""
    known = set(out.names())
    size = 8 * sum(out.layer_bytes(name) for name in layers) if known.issuperset(layers) else None
    weights = sum(math.prod(stored.shape(name)) for name in layers)

    def made(dtype: torch.dtype) -> transformers.PreTrainedModel:
        return load(out, dtype, device)

    return Variant("compressed", made, out.bytes(), size / weights if size and weights else None)


def rounded(stored: StoredModel, layers: dict[str, bool], bits: int, device: str) -> Variant:
    """The dense model with layers rounded to so many bits; the value of each tells whether it is [..., in, out]."""
    weights = {name: math.prod(stored.shape(name)) for name in layers}
    inputs = {name: stored.shape(name)[-2 if transposed else -1] for name, transposed in layers.items()}
    size = sum(weights[name] * bits_per_weight(inputs[name], bits) for name in layers)

    def changed(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if name not in layers:
            return tensor
        return round_to_nearest(tensor.mT, bits).mT if layers[name] else round_to_nearest(tensor, bits)

    def made(dtype: torch.dtype) -> transformers.PreTrainedModel:
        return load(stored, dtype, device, changed)

    left = stored.bytes() - sum(stored.layer_bytes(name) for name in layers)
    return Variant(f"{bits} bits", made, left + round(size / 8), size / sum(weights.values()), bits)


def compressed_layers(out: StoredModel, stored: StoredModel) -> dict[str, bool]:
    """The tensors that are compressed in `out`, and whether they are stored as [..., in, out]."""
    known = set(stored.names())
    missing = [name for name in out.compressed if name not in known]
    if missing:
        raise ValueError(
            f"{stored.folder}: holds no tensor {missing[0]}, which is compressed in {out.folder}; is it another model?"
        )
    return {name: entry.transposed for name, entry in out.compressed.items()}


def linear_layers(stored: StoredModel, dense: transformers.PreTrainedModel) -> tuple[dict[str, bool], list[str]]:
    """The linear layers of a model, as `compressed_layers` gives them; and the names in memory of others.

    The others are experts that are stacked in memory, and layers that were not found on disk.
    """
    layers, _ = find_layers(dense)
    plain = {name: layer for name, layer in layers.items() if not layer.experts}
    found, unmatched = match(plain, Checkpoint(stored.folder))
    known = set(stored.names())
    names = {part.stem: part.stem if part.stem in known else f"{part.stem}.weight" for part in found}
    stacked = [name for name, layer in layers.items() if layer.experts]
    return {names[part.stem]: bool(part.transposed) for part in found}, stacked + [ours for ours, _ in unmatched]
