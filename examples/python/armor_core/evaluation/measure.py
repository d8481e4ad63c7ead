"""Runs a dense model and others on the same pieces of texts, and compares what they give."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import torch
    import transformers

    from armor_core.evaluation.texts import Text


@dataclasses.dataclass
class Variant:
    """A model to compare with the dense one: how it is loaded, in the dense one's type, and the room it takes."""

    name: str
    load: Callable[[torch.dtype], transformers.PreTrainedModel]
    bytes: int
    bits_per_weight: float | None
    bits: int | None = None


def measure(
    kind: ModuleType, dense: transformers.PreTrainedModel, variants: list[Variant], texts: list[Text], at_once: int
) -> list[list[Any]]:
    """What each variant gives on each text against the dense model, as sums that can be added.

    `kind` is the module `language` or `sentences`. Beside the dense model, `at_once` others are in memory.
    """
    found = []
    passes = [variants[start : start + at_once] for start in range(0, len(variants), at_once)]
    pieces = sum(len(text.pieces) for text in texts)
    with tqdm(total=pieces * len(passes), unit=kind.PIECE) as bar:
        for part in passes:
            bar.set_description(", ".join(variant.name for variant in part))
            models = [variant.load(dense.dtype) for variant in part]
            found += zip(*(compared(kind, dense, models, text, bar) for text in texts))
            del models
    return [list(sums) for sums in found]


def compared(
    kind: ModuleType, dense: transformers.PreTrainedModel, models: list[Any], text: Text, bar: tqdm
) -> list[Any]:
    """What each of some models gives on a text, as sums."""
    sums: list[Any] = [None] * len(models)
    for piece in text.pieces:
        wanted = kind.run(dense, piece)
        for index, model in enumerate(models):
            try:
                one = kind.compare(wanted, kind.run(model, piece), piece)
            except ValueError as error:
                raise ValueError(f"{text.path}: {error}") from error
            sums[index] = one if sums[index] is None else sums[index] + one
        bar.update()
    return sums
