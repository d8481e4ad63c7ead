"""Compresses the layers of a job, and puts the results into the model."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable

import torch

from armor_core.accumulator import Accumulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from armor_core.calibration.layers import Layer
    from armor_core.calibration.output import Stored
    from armor_core.compression.sums import Calibration
    from armor_core.compression.workers import Workers
    from armor_core.job import Job
    from armor_core.progress import ProgressFunction


@dataclasses.dataclass(frozen=True)
class Place:
    """A layer of a job, and where its result goes: some outputs of a weight in memory, or of one of its experts."""

    index: int
    name: str
    entries: int
    stored: Stored
    expert: int | None

    def key(self, layer: str) -> str:
        """The name of the accumulator of its inputs."""
        return layer if self.expert is None else f"{layer}[{self.expert}]"

    def put(self, layer: Layer, values: np.ndarray) -> None:
        """Writes a compressed weight, [out, in], over the dense one."""
        with torch.no_grad():
            self.write(layer.weight, layer, torch.from_numpy(values))

    def write(self, weight: torch.Tensor, layer: Layer, values: torch.Tensor) -> None:
        """Writes these outputs, [out, in], over those of a weight that lies in memory as the layer's does."""
        matrix = weight if self.expert is None else weight[self.expert]
        matrix = matrix.mT if layer.transposed else matrix
        matrix[self.stored.start :: self.stored.step][: len(values)] = values


def find_places(plan: dict[str, Any], stored: list[Stored]) -> dict[str, list[Place]]:
    """The places of each layer in memory, from the plan of a job and the weights on disk."""
    weights = {weight.tensor: weight for weight in stored}
    found: dict[str, list[Place]] = {}
    for index, layer in enumerate(plan["layers"]):
        weight = weights[layer["tensor"]]
        expert = layer["slice"] if weight.stacked else weight.experts[0] if weight.experts else None
        place = Place(index, layer["name"], layer["rows"] * layer["cols"], weight, expert)
        for name in weight.layers:
            found.setdefault(name, []).append(place)
    return found


@dataclasses.dataclass
class Compression:
    """A job whose layers are compressed as their inputs become known.

    `progress` is what a layer's run is observed by, and `tell` is called when a layer is done.
    """

    job: Job
    places: dict[str, list[Place]]
    kind: str
    workers: Workers
    progress: Callable[[Place], ProgressFunction | None]
    tell: Callable[[Place], None]

    @cached_property
    def dtypes(self) -> list[tuple[str, str, str]]:
        """The number types in which A, S and B of each layer of the job are stored."""
        return [types_of(layer["dtype"]) for layer in self.job.plan()["layers"]]

    def run(
        self, layers: Mapping[str, Layer], inputs: Callable[[], Mapping[str, Calibration]], *, put: bool = True
    ) -> None:
        """Compresses layers on their inputs, and writes the results over their weights if `put` is set.

        `inputs` is only called where a layer is not done. An expert that no token reached has no inputs: all of them
        count alike.
        """
        todo = [(layer, place) for name, layer in layers.items() for place in self.places.get(name, [])]
        left = {place.index: (layer, place) for layer, place in todo if not self.job.is_done(place.index)}
        sums = inputs() if left else {}
        on = ((place, sums.get(place.key(layer.name)) or self._nothing(layer)) for layer, place in left.values())
        for place in self.workers.run_layers(self.job, on, self.progress):
            self.tell(place)
        for layer, place in todo:
            if put:
                place.put(layer, self.job.layer_weight(place.index))
            self.tell(place)

    def _nothing(self, layer: Layer) -> Accumulator:
        """The sums over no token."""
        return Accumulator(layer.weight.shape[-2 if layer.transposed else -1], self.kind)


def types_of(dtype: str | dict[str, str]) -> tuple[str, str, str]:
    """PyTorch's names of the number types of A, S and B."""
    names = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
    factors = dtype if isinstance(dtype, dict) else dict.fromkeys(("left", "core", "right"), dtype)
    left, core, right = (names[factors[factor]] for factor in ("left", "core", "right"))
    return left, core, right
