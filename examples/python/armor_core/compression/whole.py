"""Compresses a model that is run as a whole, each layer on the inputs that it has in the dense model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tqdm import tqdm

from armor_core.calibration.watch import Watcher
from armor_core.compression.blocks import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from armor_core.accumulator import Accumulator
    from armor_core.calibration.layers import Layer
    from armor_core.compression.places import Compression

# Bytes of the sums that are collected in one pass over the text.
MOST_BYTES = 4 << 30


def compress_whole(
    model: torch.nn.Module,
    layers: dict[str, Layer],
    sequences: list[list[int]],
    compression: Compression,
    *,
    all_experts: bool,
) -> None:
    """Runs a model on the sequences, once for as many layers as fit into memory, and compresses these."""
    for part in parts(layers, compression):
        described = f"calibrating {len(part)} of {len(layers)} layers"

        def inputs(part: dict[str, Layer] = part, described: str = described) -> dict[str, Accumulator]:
            with Watcher(part, compression.kind, all_experts=all_experts) as watcher:
                for sequence in tqdm(sequences, desc=described, unit="sequence"):
                    run(model, sequence, is_generative=model.can_generate())
            return watcher.by_name()

        compression.run(part, inputs, put=False)


def parts(layers: dict[str, Layer], compression: Compression) -> Iterator[dict[str, Layer]]:
    """Divides layers into parts whose sums take at most `MOST_BYTES`; layers of one weight stay together."""
    part: dict[str, Layer] = {}
    size = 0
    for name, layer in layers.items():
        inputs = layer.weight.shape[-2 if layer.transposed else -1]
        bytes_ = 8 * (layer.experts or 1) * inputs ** (2 if compression.kind == "full" else 1)
        if part and size + bytes_ > MOST_BYTES:
            yield part
            part, size = {}, 0
        part[name] = layer
        size += bytes_
    if part:
        yield part
