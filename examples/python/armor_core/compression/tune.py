"""Trains the factors of a block, so that the block gives what the dense one gives.

The wrappers and the kept values of all layers of the block are trained together, with Adam, on the hidden states that
the block is handed in the compressed model; which values are kept does not change. A tenth of the sequences is held
out. The factors that are kept are those with the least error there, rounded as they are stored, among those before the
training and those after each pass: so the block is never worse there than without it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch.func import functional_call

from armor_core.compression.states import UNFINISHED
from armor_core.inference.unpack import factor_linear, file_of
from armor_core.model.blocks import product
from armor_core.model.layer_file import ENDINGS, LayerFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from armor_core.calibration.layers import Layer
    from armor_core.compression.blocks import Call
    from armor_core.compression.places import Compression, Place
    from armor_core.inference.factor_linear import FactorLinear

RATE = 0.002  # of a tensor's mean magnitude, the size of a step at the beginning
BATCH = 4  # sequences of a step
HELD_OUT = 10  # one of so many sequences is held out, and one at least

# What a sequence of the block's inputs is, and what the dense block gives for its own: (1, tokens, width) each.
Pair = tuple[torch.Tensor, torch.Tensor]


@dataclasses.dataclass
class Tuned:
    """The relative squared errors on the held-out sequences, and the factors of each layer, if they are better."""

    before: float
    after: float
    files: dict[int, LayerFile]

    def put(self, path: Path) -> None:
        """Writes a file, as a whole or not at all."""
        words = {str(index): json.dumps(dict(file.words)) for index, file in self.files.items()}
        tensors = {f"{index}.{end}": file.tensors[end] for index, file in self.files.items() for end in ENDINGS}
        unfinished = path.with_name(f"{UNFINISHED}{path.name}")
        errors = {"before": repr(self.before), "after": repr(self.after)}
        with unfinished.open("wb") as opened:
            opened.write(safetensors.torch.save(tensors, {**words, **errors}))
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.replace(path)

    @staticmethod
    def read(path: Path) -> Tuned:
        """Reads what `put` wrote."""
        try:
            with safetensors.safe_open(path, "pt") as file:
                words = file.metadata()
                before, after = (float(words.pop(key)) for key in ("before", "after"))
                files = {
                    int(index): LayerFile({end: file.get_tensor(f"{index}.{end}") for end in ENDINGS}, json.loads(text))
                    for index, text in words.items()
                }
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"--work: {path} is damaged: {error}; remove it, and --resume trains the block again"
            ) from error
        return Tuned(before, after, files)


def tuned_file(folder: Path, block: int) -> Path:
    """Where the result of a block's training is kept until the block is done."""
    return folder / f"tuned-{block:05}.safetensors"


@dataclasses.dataclass
class Part:
    """A layer of the job, its factors as tensors to train, and the number types in which they are stored."""

    place: Place
    layer: Layer
    factors: FactorLinear
    dtypes: tuple[str, str, str]


class Tuner:
    """A block whose layers are computed from factors that can be trained."""

    def __init__(self, module: torch.nn.Module, call: Call, parts: Sequence[Part], device: str) -> None:
        """Takes a block in f32, what it is handed beside hidden states, and the factors of its layers."""
        self._module = module.to(device)
        self._call = dataclasses.replace(call, args=moved(call.args, device), kwargs=moved(call.kwargs, device))
        self._parts, self._device = list(parts), device
        self._names = {id(parameter): name for name, parameter in module.named_parameters()}
        for part in self._parts:
            part.factors.to(device)

    def tune(self, pairs: Callable[[int], Pair], sequences: int, passes: int, seed: int) -> Tuned:
        """Trains for so many passes over the sequences; `pairs` gives one."""
        held_out = range(sequences - max(1, sequences // HELD_OUT), sequences)
        generator = torch.Generator().manual_seed(seed)
        factors = [tensor for part in self._parts for tensor in part.factors.parameters() if tensor.requires_grad]
        groups = [{"params": [tensor], "lr": RATE * tensor.detach().abs().mean().item()} for tensor in factors]
        steps = torch.optim.Adam(groups)
        batches = math.ceil(held_out.start / BATCH)
        decay = torch.optim.lr_scheduler.LambdaLR(
            steps, lambda step: 0.5 * (1 + math.cos(math.pi * step / (passes * batches)))
        )
        before = best = self._stored_error(pairs, held_out)
        kept: dict[int, LayerFile] = {}
        for _ in range(passes):
            order = torch.randperm(held_out.start, generator=generator).tolist()
            for first in range(0, len(order), BATCH):
                steps.zero_grad()
                for index in order[first : first + BATCH]:
                    self._loss(*pairs(index)).backward()
                steps.step()
                decay.step()
            error = self._stored_error(pairs, held_out)
            if error < best:
                best = error
                kept = {part.place.index: file_of(part.factors, ("float32",) * 3) for part in self._parts}
        return Tuned(before, best, kept)

    def _loss(self, hidden: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The squared error of the block's output over the squares of what it should be."""
        wanted = wanted.to(self._device)
        return (self._output(hidden) - wanted).square().sum() / wanted.square().sum()

    def _output(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the block gives with the factors as they are."""
        weights: dict[str, torch.Tensor] = {}
        for part in self._parts:
            weight = part.layer.weight
            whole = weights.setdefault(self._names[id(weight)], weight.clone())
            factors = part.factors
            part.place.write(whole, part.layer, product(factors.left, factors.core(), factors.right))
        return self._call.run(Functional(self._module, weights), hidden.to(self._device))

    def _stored_error(self, pairs: Callable[[int], Pair], some: range) -> float:
        """The mean error over some sequences with the factors rounded as they are stored."""
        exact = [{name: tensor.clone() for name, tensor in part.factors.state_dict().items()} for part in self._parts]
        with torch.no_grad():
            for part in self._parts:
                for tensor, kind in zip((part.factors.left, part.factors.values, part.factors.right), part.dtypes):
                    tensor.copy_(tensor.to(getattr(torch, kind)))
            error = sum(self._loss(*pairs(index)).item() for index in some) / len(some)
            for part, state in zip(self._parts, exact):
                part.factors.load_state_dict(state)
        return error


@dataclasses.dataclass
class Functional:
    """A module that is called with other values for some of its parameters."""

    module: torch.nn.Module
    weights: dict[str, torch.Tensor]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever a block is handed and gives
        """Runs the module."""
        return functional_call(self.module, self.weights, args, kwargs)


def parts_of(compression: Compression, layers: Iterable[Layer]) -> list[Part]:
    """The layers of a block with their factors, all of which are done."""
    found = {}
    for layer in layers:
        for place in compression.places.get(layer.name, []):
            file = LayerFile.of_factorization(compression.job.layer_factors(place.index))
            found[place.index] = Part(place, layer, factor_linear(file, torch.float32), compression.dtypes[place.index])
    return list(found.values())


def moved(value: Any, device: str) -> Any:  # noqa: ANN401 - whatever a block is handed
    """The same with its tensors on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, (tuple, list)):
        return type(value)(moved(part, device) for part in value)
    if isinstance(value, dict):
        return {key: moved(part, device) for key, part in value.items()}
    return value
