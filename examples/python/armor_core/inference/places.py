"""Where a model in memory uses the tensors of its files: as transformers renames and joins them when it loads them."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    Concatenate,
    MergeModulelist,
    Transpose,
    WeightConverter,
    WeightRenaming,
    apply_converters,
    apply_renamings,
    rename_source_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PreTrainedModel
    from transformers.core_model_loading import WeightTransform


@dataclasses.dataclass(frozen=True)
class Place:
    """A parameter in memory, and the tensors on disk that it is made of.

    `experts` is None for a tensor that the parameter is as a whole, its last two axes exchanged if `flipped`.
    Otherwise it has the tensors of each expert, whose outputs follow one another.
    """

    parameter: str
    tensor: str | None
    experts: list[list[str]] | None = None
    flipped: bool = False


class Names:
    """The names of a model's tensors, on disk and in memory."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Takes the model, whose parameters may be without memory."""
        transforms = get_model_conversion_mapping(model)
        self._renamings = [transform for transform in transforms if isinstance(transform, WeightRenaming)]
        self._converters = [transform for transform in transforms if isinstance(transform, WeightConverter)]
        self._prefix = model.base_model_prefix
        self._parameters = model.state_dict()

    def renamed(self, name: str) -> str:
        """The name of a tensor before others are joined to it; `save_pretrained` turns it back into that on disk."""
        return apply_renamings(name, self._renamings)

    def places(self, tensors: Iterable[str]) -> list[Place]:
        """The parameters that tensors on disk become."""
        found: list[Place] = []
        joined: dict[str, dict[int, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
        for tensor in tensors:
            parameter, pattern = rename_source_key(
                tensor, self._renamings, self._converters, self._prefix, self._parameters
            )
            if parameter not in self._parameters:
                raise ValueError(f"{tensor}: the model has no parameter of this name ({parameter})")
            converter = next((found for found in self._converters if pattern in found.source_patterns), None)
            if converter is None or _exchanges_axes(converter):
                # With `check_dims` the axes of square weights stay.
                flipped = converter is not None and not converter.operations[0].check_dims
                found.append(Place(parameter, tensor, flipped=flipped))
            else:
                part, expert = self._part(tensor, pattern, converter)
                joined[parameter][expert][part] = tensor
        return found + [self._joined(parameter, experts) for parameter, experts in joined.items()]

    def _part(self, tensor: str, pattern: str, converter: WeightConverter) -> tuple[int, int]:
        """Which of the joined outputs a tensor has, and of which expert."""
        steps = [type(step) for step in converter.operations]
        expert = re.search(pattern.replace(".", r"\.").replace("*", r"(\d+)"), self.renamed(tensor))
        if expert is None or steps not in ([MergeModulelist], [MergeModulelist, Concatenate]):
            names = ", ".join(step.__name__ for step in steps)
            raise ValueError(
                f"{tensor}: transformers makes its parameter by {names}, which armor-core cannot do with factors; "
                "compress the model with --format reconstructed"
            )
        return converter.source_patterns.index(pattern), int(expert[1])

    def _joined(self, parameter: str, experts: dict[int, dict[int, str]]) -> Place:
        """A stack of experts, all of whose parts are there."""
        parts = max(len(of_expert) for of_expert in experts.values())
        count = self._parameters[parameter].shape[0]
        for expert in range(count):
            if len(experts.get(expert, {})) < parts:
                raise ValueError(f"{parameter}: only a part of it is compressed, not all of expert {expert}")
        stack = [[experts[expert][part] for part in sorted(experts[expert])] for expert in range(count)]
        return Place(parameter, None, stack)


def makes_one_of(transform: WeightTransform, names: Iterable[str]) -> bool:
    """Whether a transformation makes one of these parameters; what only renames tensors always counts."""
    if not isinstance(transform, WeightConverter):
        return True
    back = [transform.reverse_transform()]
    return any(apply_converters(name, back)[1] is not None for name in names)


def _exchanges_axes(converter: WeightConverter) -> bool:
    """Whether a parameter is a tensor on disk whose last two axes may have to be exchanged."""
    steps = converter.operations
    return len(converter.source_patterns) == len(steps) == 1 and isinstance(steps[0], Transpose)
