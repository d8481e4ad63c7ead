"""The order in which a model uses its layers, and the inputs of each."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import torch

from armor_core.calibration.watch import Watcher
from armor_core.compression.blocks import Stopped, UnknownArchitectureError, run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from armor_core.calibration.layers import Layer
    from armor_core.compression.blocks import Call


@dataclasses.dataclass(frozen=True)
class Stage:
    """Layers that are handed the same input, such as q, k and v; or one parameter of experts.

    `calls` is how often the model uses them for one sequence.
    """

    layers: tuple[str, ...]
    experts: bool = False
    calls: int = 1


def find_stages(model: torch.nn.Module, layers: dict[str, Layer], tokens: list[int]) -> list[Stage]:
    """Runs a model on a sequence: its stages in the order of their first use.

    Layers that no token reaches are in none of them.
    """
    with Watcher(layers) as watcher:
        run(model, tokens, is_generative=model.can_generate())
    found: dict[str, list[str]] = {re.sub(r"\[\d+\]$", "", key): [] for key in watcher.accumulators}
    for name, owner in watcher.owner.items():
        found[owner].append(name)
    return [
        Stage(tuple(names), calls=watcher.accumulators[key].tokens // len(tokens)) if names else Stage((key,), True)
        for key, names in found.items()
    ]


def stages_of_blocks(stages: list[Stage], names: list[str], weights: Iterable[tuple[str, ...]]) -> list[list[Stage]]:
    """The stages of each block.

    `weights` has the layers of each weight on disk. An UnknownArchitectureError says why the stages cannot be run one
    after the other: a layer is used several times, or several layers with other inputs have one weight.
    """
    stage_of = {layer: index for index, stage in enumerate(stages) for layer in stage.layers}
    found: list[list[Stage]] = [[] for _ in names]
    for stage in stages:
        blocks = {index for layer in stage.layers for index, name in enumerate(names) if layer.startswith(f"{name}.")}
        if len(blocks) != 1:
            raise UnknownArchitectureError(f"{stage.layers[0]} and {stage.layers[-1]} share their input across blocks")
        if not stage.experts and stage.calls != 1:
            raise UnknownArchitectureError(f"{stage.layers[0]} is used {stage.calls} times for one sequence")
        found[blocks.pop()].append(stage)
    for layers in weights:
        if len({stage_of[layer] for layer in layers}) != 1:
            raise UnknownArchitectureError(f"{layers[0]} and {layers[1]} have one weight and different inputs")
    return found


def input_of(module: torch.nn.Module, block: torch.nn.Module, call: Call, hidden: torch.Tensor) -> torch.Tensor:
    """Runs a block as far as one of its modules: what that is handed, (tokens, k)."""
    caught: list[torch.Tensor] = []

    def hook(_module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        given = args[0] if args else next(iter(kwargs.values()))
        caught.append(given.flatten(0, -2))
        raise Stopped

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with torch.no_grad():
            call.run(block, hidden)
    except Stopped:
        return caught[0]
    finally:
        handle.remove()
    raise RuntimeError("a layer that was used before is not used any more")


def within(layers: Iterable[Layer], path: str, block: torch.nn.Module) -> dict[str, Layer]:
    """The same layers in a copy of their block, which lies at `path` in the model."""
    found = {}
    for layer in layers:
        name = layer.name if layer.experts is None else layer.name.removesuffix(f".{layer.parameter}")
        inside = name.removeprefix(path).removeprefix(".")
        found[layer.name] = dataclasses.replace(layer, module=block.get_submodule(inside))
    return found
