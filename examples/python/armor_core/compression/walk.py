"""Compresses a model block by block, each layer on the inputs that it has in the compressed model.

Two paths run side by side: the dense model's, and that of the model whose blocks so far are compressed. Within a block
the layers are compressed in the order of their use, q, k and v, then o, then gate and up, then down: each stage sees
inputs that carry the error of the stages before it. A layer gets the inputs of both paths, token by token, so that it
can correct for what the layers before it lost. The experts of a layer see other tokens on the two paths, so they get
those of the compressed path alone.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, Callable, Union

import torch

from armor_core.accumulator import Accumulator
from armor_core.calibration.watch import Watcher
from armor_core.compression.blocks import in_f32
from armor_core.compression.stages import input_of, within
from armor_core.pair_accumulator import PairAccumulator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from armor_core.calibration.layers import Layer
    from armor_core.compression.blocks import Blocks, Call
    from armor_core.compression.places import Compression
    from armor_core.compression.record import RunFolder
    from armor_core.compression.stages import Stage
    from armor_core.compression.states import HiddenStates

DENSE, COMPRESSED = "dense", "compressed"
MEASURED = 4
Calibration = Union[Accumulator, PairAccumulator]


@dataclasses.dataclass
class Walk:
    """A walk through the blocks of a model.

    `calls` and `stages` have an entry for each block. Without `propagate` every layer is given the inputs of the dense
    model, as if it were the only one that is compressed. `tell_block` gets what each block lost.
    """

    blocks: Blocks
    calls: list[Call]
    stages: list[list[Stage]]
    layers: dict[str, Layer]
    compression: Compression
    states: HiddenStates
    folder: RunFolder
    kind: str
    propagate: bool
    all_experts: bool
    tell_block: Callable[[dict[str, Any]], None]

    def run(self) -> list[dict[str, Any]]:
        """Compresses all blocks, from that on whose hidden states are there.

        Gives how far each takes the compressed model from the dense one on the calibration text: `own` is the squared
        error of the block's output over the output's squares, where the compressed block is handed the dense model's
        hidden states, too; `drift` the same where it is handed those of the compressed model.
        """
        errors = self.folder.errors(self.states.block)
        if self.propagate and errors and errors[-1]["drift"] is None:
            errors[-1]["drift"] = self._drift()
        for index in range(self.states.block, len(self.blocks.modules)):
            block = Block(self, index)
            block.compress()
            errors.append({"block": block.name, "own": block.own_error(), "drift": None})
            self.folder.put_errors(errors)
            self.states.advance(index + 1, block.output)
            if self.propagate:
                errors[-1]["drift"] = self._drift()
            self.tell_block(errors[-1])
        return errors

    def _drift(self) -> float:
        return distance(zip(self.states.all(DENSE), self.states.all(COMPRESSED)))


class Block:
    """A block while it is compressed: a dense copy in f32, and one whose weights are replaced one after the other."""

    def __init__(self, walk: Walk, index: int) -> None:
        self.walk, self.name = walk, walk.blocks.names[index]
        self._call, self._stages = walk.calls[index], walk.stages[index]
        self._dense = in_f32(walk.blocks.modules[index])
        self._compressed = copy.deepcopy(self._dense)
        layers = [walk.layers[name] for stage in self._stages for name in stage.layers]
        self._in_dense = within(layers, self.name, self._dense)
        self._in_compressed = within(layers, self.name, self._compressed)

    def compress(self) -> None:
        """Compresses all layers of the block."""
        run = self.walk.compression.run
        if not self.walk.propagate:
            run(self._in_compressed, lambda: self._watched(self._dense, DENSE, self._in_dense))
            return
        for stage in self._stages:
            layers = {name: self._in_compressed[name] for name in stage.layers}
            if stage.experts:
                run(layers, lambda layers=layers: self._watched(self._compressed, COMPRESSED, layers))
            else:
                run(layers, lambda layers=layers: dict.fromkeys(layers, self._pairs(next(iter(layers)))))

    def output(self, path: str, hidden: torch.Tensor) -> torch.Tensor:
        """What the block of a path gives."""
        with torch.no_grad():
            return self._call.run(self._dense if path == DENSE else self._compressed, hidden)

    def own_error(self) -> float:
        """The error of the output of a few sequences that the block alone makes."""
        states = self.walk.states
        some = (states.get(DENSE, index) for index in range(min(MEASURED, len(states))))
        return distance((self.output(DENSE, hidden), self.output(COMPRESSED, hidden)) for hidden in some)

    def _pairs(self, layer: str) -> PairAccumulator:
        """The inputs of a layer on both paths."""
        dense, compressed = self._in_dense[layer].module, self._in_compressed[layer].module
        pairs = None
        for of_dense, of_compressed in zip(self.walk.states.all(DENSE), self.walk.states.all(COMPRESSED)):
            inputs = input_of(dense, self._dense, self._call, of_dense)
            pairs = pairs or PairAccumulator(inputs.shape[-1])
            pairs.add(inputs.numpy(), input_of(compressed, self._compressed, self._call, of_compressed).numpy())
        return pairs

    def _watched(self, block: torch.nn.Module, path: str, layers: dict[str, Layer]) -> dict[str, Accumulator]:
        """The inputs of layers on one path, by the names of layers and experts."""
        with Watcher(layers, self.walk.kind, all_experts=self.walk.all_experts) as watcher, torch.no_grad():
            for hidden in self.walk.states.all(path):
                self._call.run(block, hidden)
        return watcher.by_name()


def distance(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The squared distance of pairs of tensors over the squares of the first ones."""
    difference = total = 0.0
    for one, other in pairs:
        difference += (one.double() - other.double()).square().sum().item()
        total += one.double().square().sum().item()
    return difference / total if total else 0.0
