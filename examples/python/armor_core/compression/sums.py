"""What is done with a shard of the sequences, by any process: sums over inputs of layers, and hidden states."""

from __future__ import annotations

import dataclasses
from itertools import islice
from typing import TYPE_CHECKING, Union

import torch

from armor_core.accumulator import Accumulator
from armor_core.calibration.watch import Watcher
from armor_core.compression.stages import input_of
from armor_core.errors import ArmorError
from armor_core.pair_accumulator import PairAccumulator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from armor_core.calibration.layers import Layer
    from armor_core.compression.blocks import Call
    from armor_core.compression.states import Shard

Calibration = Union[Accumulator, PairAccumulator]
# Sums by their names, and for layers that share one the name that it has.
Part = tuple[dict[str, Calibration], dict[str, str]]


@dataclasses.dataclass
class Side:
    """A block on one path: its module in f32, what it is handed, and its layers by their names in the model."""

    path: str
    module: torch.nn.Module
    call: Call
    layers: dict[str, Layer]

    def output(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the block gives for hidden states, (1, tokens, width)."""
        with torch.no_grad():
            return self.call.run(self.module, hidden)

    def input_of(self, layer: str, hidden: torch.Tensor) -> torch.Tensor:
        """What a layer of the block is handed, (tokens, k)."""
        return input_of(self.layers[layer].module, self.module, self.call, hidden)


def pairs(shard: Shard, dense: Side, compressed: Side, layers: tuple[str, ...]) -> Part:
    """The inputs on both paths of layers that share them."""
    first, total = layers[0], None
    for of_dense, of_compressed in zip(shard.read(dense.path), shard.read(compressed.path)):
        inputs = dense.input_of(first, of_dense)
        total = total or PairAccumulator(inputs.shape[-1])
        try:
            total.add(inputs.numpy(), compressed.input_of(first, of_compressed).numpy())
        except ArmorError as error:
            raise ValueError(f"{first}: {error}") from error
    return {first: total}, dict.fromkeys(layers, first)


def watched(shard: Shard, side: Side, layers: tuple[str, ...], kind: str, all_experts: bool) -> Part:
    """The inputs of layers and experts on one path."""
    with Watcher({name: side.layers[name] for name in layers}, kind, all_experts=all_experts) as watcher:
        for hidden in shard.read(side.path):
            side.output(hidden)
    return watcher.accumulators, watcher.owner


def merge(parts: Iterable[Part]) -> dict[str, Calibration]:
    """Adds up the sums of shards in their order; layers that share one have it under each of their names."""
    total: dict[str, Calibration] = {}
    owner: dict[str, str] = {}
    for sums, owners in parts:
        owner.update(owners)
        for name, some in sums.items():
            if name in total:
                total[name].merge(some)
            else:
                total[name] = some
    return {**total, **{name: total[first] for name, first in owner.items()}}


def advance(shard: Shard, side: Side) -> None:
    """Writes the hidden states that a block gives for those in front of it; `shard` lies behind it."""
    shard.write(side.path, map(side.output, shard.before().read(side.path)))


def own_error(shard: Shard, index: int, dense: Side, compressed: Side) -> tuple[float, float]:
    """The squared error that the block alone makes in a sequence, and the square of its output."""
    hidden = next(islice(shard.read(dense.path), index, None))
    return squares([(dense.output(hidden), compressed.output(hidden))])


def drift(shard: Shard, dense: str, compressed: str) -> tuple[float, float]:
    """The squared distance of the hidden states on two paths, and the square of those on the first."""
    return squares(zip(shard.read(dense), shard.read(compressed)))


def squares(both: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[float, float]:
    """The squared distance of pairs of tensors, and the square of the first ones."""
    difference = total = 0.0
    for one, other in both:
        difference += (one.double() - other.double()).square().sum().item()
        total += one.double().square().sum().item()
    return difference, total


def ratio(parts: Iterable[tuple[float, float]]) -> float:
    """The sum of the first numbers over that of the second ones."""
    difference, total = map(sum, zip(*parts))
    return difference / total if total else 0.0
