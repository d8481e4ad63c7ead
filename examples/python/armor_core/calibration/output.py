"""Adds inputs to accumulators, and writes what they have summed up."""

from __future__ import annotations

import dataclasses
import tempfile
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from armor_core.accumulator import Accumulator
from armor_core.errors import ArmorError

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = {"diagonal": "hessian_diag", "full": "hessian"}
TOKENS_AT_ONCE = 8192


@dataclasses.dataclass
class Stored:
    """A weight on disk, named without `.weight`: that of a layer, of one of its experts, or of all of them stacked.

    It has several layers where it is used in several places. It is [in, out] if `transposed`, [out, in] if that is
    False, and either if it is None, for inputs that something else has stored. Where it is a part of a layer's weight,
    its outputs are every `step`th of the layer's from `start` on. `tensor` is its whole name on disk.
    """

    stem: str
    layers: list[str]
    experts: list[int] | None = None
    transposed: bool | None = None
    stacked: bool = False
    start: int = 0
    step: int = 1
    tensor: str | None = None

    def places(self) -> list[tuple[str, ...]]:
        """The accumulators of its inputs, for each expert where it has some."""
        if self.experts is None:
            return [tuple(self.layers)]
        return [tuple(f"{layer}[{expert}]" for layer in self.layers) for expert in self.experts]


@dataclasses.dataclass
class Hessians:
    """The tensors to write, and the aliases to find the Hessians by that are written once for several layers.

    `unreached` has the weights that no token reached, and `idle` those of experts; `scarce` has those with fewer tokens
    than inputs.
    """

    tensors: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    aliases: dict[str, str] = dataclasses.field(default_factory=dict)
    unreached: list[str] = dataclasses.field(default_factory=list)
    idle: list[str] = dataclasses.field(default_factory=list)
    scarce: list[str] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        """The number of Hessians."""
        return sum(key.endswith(tuple(SUFFIXES.values())) for key in self.tensors)


def add(accumulator: Accumulator, name: str, inputs: np.ndarray) -> None:
    """Adds a module's inputs, (..., k); an error tells whose they were."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    for start in range(0, len(rows), TOKENS_AT_ONCE):
        try:
            accumulator.add(rows[start : start + TOKENS_AT_ONCE])
        except (TypeError, ValueError, ArmorError) as error:
            raise ValueError(f"{name}: from token {start} on: {error}") from error


def hessians(
    accumulators: dict[str, Accumulator],
    owner: dict[str, str],
    stored: list[Stored],
    kind: str,
    *,
    share: bool = False,
) -> Hessians:
    """Computes what to write for weights on disk; `owner` tells whose accumulator a layer uses.

    With `share`, Hessians that equal another's are left out where an alias finds them.
    """
    result = Hessians()
    written: dict[tuple, str] = {}
    for weight in stored:
        keys = [
            tuple(sorted({owner.get(key, key) for key in place} & accumulators.keys())) for place in weight.places()
        ]
        sums = [merged([accumulators[key] for key in place]) for place in keys]
        tokens = [total.tokens if total else 0 for total in sums]
        inputs = next((total.inputs for total in sums if total), None)
        if inputs is None:
            (result.unreached if weight.experts is None else result.idle).append(weight.stem)
            continue
        names = [f"{weight.stem}[{expert}]" for expert in range(len(sums))] if weight.stacked else [weight.stem]
        result.idle += [name for name, count in zip(names, tokens) if count == 0]
        result.scarce += [name for name, count in zip(names, tokens) if 0 < count < inputs]
        first = written.setdefault((*keys, weight.transposed, weight.stacked), weight.stem)
        alias = component(weight.stem, first) if share and first != weight.stem and not weight.transposed else None
        if alias and result.aliases.get(alias[0], alias[1]) == alias[1]:
            result.aliases[alias[0]] = alias[1]
            continue
        nothing = np.zeros((inputs,) * (2 if kind == "full" else 1), np.float32)
        values = [total.hessian() if total else nothing for total in sums]
        result.tensors[f"{weight.stem}.{SUFFIXES[kind]}"] = np.stack(values) if weight.stacked else values[0]
        result.tensors[f"{weight.stem}.tokens"] = np.array(tokens, np.int64)
        if weight.transposed is not None:
            result.tensors[f"{weight.stem}.transposed"] = np.array([weight.transposed], np.uint8)
    return result


def merged(accumulators: list[Accumulator]) -> Accumulator | None:
    """The sum of accumulators, or None of none."""
    if len(accumulators) < 2:
        return accumulators[0] if accumulators else None
    total = Accumulator(accumulators[0].inputs, accumulators[0].kind)
    for accumulator in accumulators:
        total.merge(accumulator)
    return total


def component(name: str, owner: str) -> tuple[str, str] | None:
    """The one component in which two names differ, in each; None where they differ in more."""
    ours, theirs = name.split("."), owner.split(".")
    different = [pair for pair in zip(ours, theirs) if pair[0] != pair[1]]
    return different[0] if len(ours) == len(theirs) and len(different) == 1 else None


def obstacle(out: Path, *, folder: bool) -> str | None:
    """Why the output, a file or a folder of files, cannot be written, if it cannot; leaves nothing behind."""
    try:
        if out.exists() and not (out.is_dir() if folder else out.is_file()):
            return f"{out} is there and is no {'folder' if folder else 'file'}"
        place = (out if folder else out.parent).absolute()
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            return f"{place} is no folder"
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        return f"{out} cannot be written: {error.strerror}"


def write(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes a safetensors file under another name and renames it, so that it is never half there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        save_file(tensors, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
