"""Finds the tensors on disk that a model's layers were read from.

A model in memory may call its weights otherwise than the files do, keep them transposed, or stack in one parameter
what lies on disk as a tensor or two for each expert. A tensor is a layer's if its shape fits, its name has the same
numbers (of the block, and of the expert), and a sample of its values is the same; of several the one with the equal
name, else with the longest equal end of the name. Names and shapes must do where a weight has no values in memory, and
where the tensor on disk is of a float8 type, whose values are multiplied by scales when they are read.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections import defaultdict
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from armor_core.calibration.output import Stored
from armor_core.model.stored import weight_files

if TYPE_CHECKING:
    from pathlib import Path

    from armor_core.calibration.layers import Layer

SAMPLED_ROWS, SAMPLED_COLUMNS = 3, 16


class Checkpoint:
    """The tensors of a model's safetensors files, those that transformers would read.

    `scaled` has the names of those that are stored in a float8 type.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {}
        self.shapes: dict[str, list[int]] = {}
        self.scaled: set[str] = set()
        self._by_numbers: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for path in weight_files(folder):
            file = safe_open(path, framework="pt")
            for name in sorted(file.keys()):
                self._files[name] = file
                header = file.get_slice(name)
                self.shapes[name] = list(header.get_shape())
                if header.get_dtype().startswith("F8_"):
                    self.scaled.add(name)
                self._by_numbers[numbers(name)].append(name)

    def with_numbers(self, wanted: tuple[str, ...]) -> list[str]:
        """The names of tensors with these numbers in their names."""
        return self._by_numbers.get(wanted, [])

    def row(self, name: str, expert: int | None, row: int, *, transposed: bool) -> torch.Tensor:
        """The inputs' weights of one output."""
        place = (slice(None), slice(row, row + 1)) if transposed else (slice(row, row + 1), slice(None))
        piece = self._files[name].get_slice(name)
        piece = piece[place] if expert is None else piece[(slice(expert, expert + 1), *place)]
        return piece.flatten()


class Wanted:
    """A weight in memory that is looked for on disk: `matrices` is a view of it as ([experts,] out, in)."""

    def __init__(self, name: str, weight: torch.Tensor, transposed: bool) -> None:
        self.name, self.numbers, self.transposed = name, numbers(name), transposed
        self.matrices = weight.mT if transposed else weight

    def expert(self, index: int) -> Wanted:
        """One of stacked experts."""
        one = Wanted(f"{self.name}[{index}]", self.matrices[index], transposed=False)
        one.numbers, one.transposed = (*self.numbers, str(index)), self.transposed
        return one


@dataclasses.dataclass
class Part:
    """A tensor on disk with all of a layer's outputs, or with the half that `start` and `step` choose."""

    name: str
    transposed: bool
    start: int
    step: int
    outputs: int


def numbers(name: str) -> tuple[str, ...]:
    """The components of a name that are numbers."""
    return tuple(part for part in name.split(".") if part.isdigit())


def stem(name: str) -> str:
    """A weight's name without `.weight`."""
    return name.removesuffix(".weight")


def common_end(one: str, other: str) -> int:
    """How many components at the ends of two names are equal."""
    count = 0
    for ours, theirs in zip(reversed(one.split(".")), reversed(other.split("."))):
        if ours != theirs:
            break
        count += 1
    return count


def match(layers: dict[str, Layer], checkpoint: Checkpoint) -> tuple[list[Stored], list[tuple[str, str]]]:
    """The weights on disk of layers, and for each layer or expert without one its name beside the most similar one."""
    stored: dict[str, Stored] = {}
    unmatched: list[tuple[str, str]] = []
    for layer in layers.values():
        name = layer.name if layer.experts else f"{layer.name}.weight"
        whole = Wanted(name, layer.weight, bool(layer.transposed))
        experts = list(range(layer.experts)) if layer.experts else None
        parts = _parts(whole, checkpoint)
        _store(stored, parts, layer.name, experts, stacked=experts is not None)
        if parts:
            continue
        if experts is None:
            unmatched.append(_beside(whole, checkpoint))
            continue
        for expert in experts:
            parts = _parts(whole.expert(expert), checkpoint)
            _store(stored, parts, layer.name, [expert], stacked=False)
            if not parts:
                unmatched.append(_beside(whole.expert(expert), checkpoint))
    return list(stored.values()), unmatched


def _store(
    stored: dict[str, Stored], parts: list[Part], layer: str, experts: list[int] | None, *, stacked: bool
) -> None:
    """Adds tensors on disk; one that is there already is used in several places."""
    for part in parts:
        name = stem(part.name)
        if name in stored:
            stored[name].layers.append(layer)
        else:
            stored[name] = Stored(name, [layer], experts, part.transposed, stacked, part.start, part.step, part.name)


def _parts(wanted: Wanted, checkpoint: Checkpoint) -> list[Part]:
    """The tensors on disk that together are a weight in memory: one, or two halves; or none."""
    candidates = checkpoint.with_numbers(wanted.numbers)
    candidates = sorted(candidates, key=lambda name: (name != wanted.name, -common_end(wanted.name, name)))
    found: dict[tuple[int, int, int], list[Part]] = defaultdict(list)
    for candidate in candidates:
        part = _part(candidate, wanted, checkpoint)
        if part is not None:
            found[part.start, part.step, part.outputs].append(part)
    outputs = wanted.matrices.shape[-2]
    for places in ([(0, 1)], [(0, 1), (outputs // 2, 1)], [(0, 2), (1, 2)]):
        parts = [found[start, step, outputs // len(places)] for start, step in places]
        if all(parts):
            return [some[0] for some in parts] if all(_is_clear(wanted.name, some) for some in parts) else []
    return []


def _is_clear(name: str, parts: list[Part]) -> bool:
    """Whether the first candidate is better than the second."""
    if len(parts) == 1 or parts[0].name == name:
        return True
    return common_end(name, parts[0].name) > common_end(name, parts[1].name)


def _part(candidate: str, wanted: Wanted, checkpoint: Checkpoint) -> Part | None:
    """Which part of a weight in memory a tensor on disk is, if any."""
    shape = checkpoint.shapes[candidate]
    if len(shape) != wanted.matrices.ndim or shape[:-2] != list(wanted.matrices.shape[:-2]):
        return None
    outputs, inputs = wanted.matrices.shape[-2:]
    half = outputs // 2
    for transposed in (wanted.transposed, not wanted.transposed):
        rows, columns = reversed(shape[-2:]) if transposed else shape[-2:]
        places = [(0, 1)] if rows == outputs else [(0, 1), (half, 1), (0, 2), (1, 2)] if 2 * rows == outputs else []
        for start, step in places if columns == inputs else []:
            part = Part(candidate, transposed, start, step, rows)
            if _agrees(part, wanted, checkpoint):
                return part
    return None


def _agrees(part: Part, wanted: Wanted, checkpoint: Checkpoint) -> bool:
    """Whether a sample of values is the same in memory and on disk, or, where values do not tell, the names' ends."""
    ours = wanted.matrices
    if ours.is_meta or part.name in checkpoint.scaled:
        whole = part.outputs == ours.shape[-2] and part.transposed == wanted.transposed
        return whole and common_end(part.name, wanted.name) > 1
    columns = spread(ours.shape[-1], SAMPLED_COLUMNS)
    for expert in [None] if ours.ndim == 2 else sorted({0, len(ours) - 1}):
        matrix = ours if expert is None else ours[expert]
        for row in spread(part.outputs, SAMPLED_ROWS):
            theirs = checkpoint.row(part.name, expert, row, transposed=part.transposed)[columns]
            here = matrix[part.start + row * part.step, columns].detach().cpu()
            if not torch.equal(theirs.to(here.dtype), here):
                return False
    return True


def spread(length: int, count: int) -> list[int]:
    """At most `count` indices from the first to the last of `length`."""
    return sorted({round(index * (length - 1) / max(count - 1, 1)) for index in range(count)})


def _beside(wanted: Wanted, checkpoint: Checkpoint) -> tuple[str, str]:
    """A name in memory and the most similar one on disk, each with its shape."""
    names = checkpoint.with_numbers(wanted.numbers) or list(checkpoint.shapes)
    closest = difflib.get_close_matches(wanted.name, names, n=1, cutoff=0)
    shape = list((wanted.matrices.mT if wanted.transposed else wanted.matrices).shape)
    return f"{wanted.name} {shape}", f"{closest[0]} {checkpoint.shapes[closest[0]]}" if closest else "nothing"
