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
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable

import torch

from armor_core.compression.blocks import in_f32
from armor_core.compression.stages import within
from armor_core.compression.states import SEQUENCES
from armor_core.compression.sums import Side, advance, drift, merge, own_error, pairs, ratio, watched
from armor_core.compression.tune import Tuned, Tuner, parts_of, tuned_file

if TYPE_CHECKING:
    from armor_core.calibration.layers import Layer
    from armor_core.compression.blocks import Blocks, Call
    from armor_core.compression.places import Compression
    from armor_core.compression.record import RunFolder
    from armor_core.compression.stages import Stage
    from armor_core.compression.states import HiddenStates
    from armor_core.compression.sums import Calibration
    from armor_core.compression.workers import Workers

DENSE, COMPRESSED = "dense", "compressed"
MEASURED = 4


@dataclasses.dataclass
class Walk:
    """A walk through the blocks of a model.

    `calls` and `stages` have an entry for each block. Without `propagate` every layer is given the inputs of the dense
    model, as if it were the only one that is compressed. With `tune` the factors of each block are trained for so many
    passes over the sequences, in an order that `seed` decides. `say` gets what is being done, and `tell_block` what
    each block lost.
    """

    blocks: Blocks
    calls: list[Call]
    stages: list[list[Stage]]
    layers: dict[str, Layer]
    compression: Compression
    states: HiddenStates
    folder: RunFolder
    workers: Workers
    propagate: bool
    all_experts: bool
    tune: int
    seed: int
    say: Callable[[str], None]
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
            tuned = block.tune() if self.tune else {}
            errors.append({"block": block.name, "own": block.own_error(), "drift": None, **tuned})
            self.folder.put_errors(errors)
            block.advance()
            if self.propagate:
                errors[-1]["drift"] = self._drift()
            self.tell_block(errors[-1])
        return errors

    def _drift(self) -> float:
        """How far the compressed model is from the dense one in front of the block."""
        calls = ((shard, DENSE, COMPRESSED) for shard in self.states.shards())
        return ratio(self.workers.map(drift, calls))


class Block:
    """A block while it is compressed: a dense copy in f32, and one whose weights are replaced one after the other."""

    def __init__(self, walk: Walk, index: int) -> None:
        self.walk, self.name = walk, walk.blocks.names[index]
        self._stages = walk.stages[index]
        layers = [walk.layers[name] for stage in self._stages for name in stage.layers]
        module = in_f32(walk.blocks.modules[index])
        self._dense, self._compressed = (
            Side(path, made, walk.calls[index], within(layers, self.name, made))
            for path, made in ((DENSE, module), (COMPRESSED, copy.deepcopy(module)))
        )
        self._shared_dense = walk.workers.share(self._dense)

    def compress(self) -> None:
        """Compresses all layers of the block."""
        run, layers = self.walk.compression.run, self._compressed.layers
        if not self.walk.propagate:
            run(layers, lambda: self._watched(self._shared_dense, tuple(layers)))
            return
        for stage in self._stages:
            sums = self._of_experts if stage.experts else self._of_pairs
            run({name: layers[name] for name in stage.layers}, lambda sums=sums, stage=stage: sums(stage.layers))

    def tune(self) -> dict[str, Any]:
        """Trains the factors of all layers: the errors on the sequences that are held out, before and after it.

        What the training gives is kept as a whole before it replaces the factors of the layers one by one, so that a
        kill in between changes nothing.
        """
        states, compression = self.walk.states, self.walk.compression
        self._advance((DENSE,))
        kept = tuned_file(states.folder, states.block)
        if not kept.is_file():
            self.walk.say(f"{self.name}: tuning")
            module = copy.deepcopy(self._compressed.module)
            parts = parts_of(compression, within(self._compressed.layers.values(), self.name, module).values())
            tuner = Tuner(module, self._compressed.call, parts, "cuda" if torch.cuda.is_available() else "cpu")
            tuner.tune(self._pair, states.sequences, self.walk.tune, self.walk.seed + states.block).put(kept)
        tuned = Tuned.read(kept)
        for index, file in tuned.files.items():
            compression.job.replace_layer(index, file.factorization())
        for layer in self._compressed.layers.values():
            for place in compression.places.get(layer.name, []):
                place.put(layer, compression.job.layer_weight(place.index))
        return {"tuning_error_before": tuned.before, "tuning_error_after": tuned.after}

    def _pair(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What the block is handed in the compressed model, and what the dense block gives in its own."""
        states = self.walk.states
        path = COMPRESSED if self.walk.propagate else DENSE
        shard, place = divmod(index, SEQUENCES)
        before, after = (states.shards(block)[shard] for block in (states.block, states.block + 1))
        return before.sequence(path, place), after.sequence(DENSE, place)

    @cached_property
    def _sides(self) -> dict[str, Side]:
        """The block on both paths, once all of it is compressed."""
        return {DENSE: self._shared_dense, COMPRESSED: self.walk.workers.share(self._compressed)}

    def advance(self) -> None:
        """Brings the hidden states in front of the next block."""
        states = self.walk.states
        self._advance(states.paths)
        states.move(states.block + 1)
        tuned_file(states.folder, states.block - 1).unlink(missing_ok=True)

    def _advance(self, paths: tuple[str, ...]) -> None:
        """Computes the hidden states behind the block on some paths."""
        states = self.walk.states
        missing = [(shard, path) for shard, path in states.missing(states.block + 1) if path in paths]
        sides = self._sides if COMPRESSED in {path for _, path in missing} else {DENSE: self._shared_dense}
        for _ in self.walk.workers.map(advance, ((shard, sides[path]) for shard, path in missing)):
            pass

    def own_error(self) -> float:
        """The error of the output of a few sequences that the block alone makes."""
        states = self.walk.states
        some = range(min(MEASURED, states.sequences))
        calls = ((states.shards()[0], index, *self._sides.values()) for index in some)
        return ratio(self.walk.workers.map(own_error, calls))

    def _of_pairs(self, layers: tuple[str, ...]) -> dict[str, Calibration]:
        """The inputs on both paths of layers that share them."""
        compressed = self.walk.workers.share(self._compressed)
        calls = ((shard, self._shared_dense, compressed, layers) for shard in self.walk.states.shards())
        return merge(self.walk.workers.map(pairs, calls))

    def _of_experts(self, layers: tuple[str, ...]) -> dict[str, Calibration]:
        """The inputs of experts on the compressed path."""
        return self._watched(self.walk.workers.share(self._compressed), layers)

    def _watched(self, side: Side, layers: tuple[str, ...]) -> dict[str, Calibration]:
        """The inputs of layers and experts on one path."""
        how = (self.walk.compression.kind, self.walk.all_experts)
        calls = ((shard, side, layers, *how) for shard in self.walk.states.shards())
        return merge(self.walk.workers.map(watched, calls))
