"""Finds the layers of a model that can be calibrated, and says why others are left out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from transformers.pytorch_utils import Conv1D

from armor_core.calibration.choice import check_globs, selected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEADS = ("lm_head", "embed_out")


@dataclasses.dataclass
class Layer:
    """A weight that inputs are multiplied by: that of a linear module, or a parameter of stacked experts.

    The weight of a linear module is [out, in], or [in, out] if `transposed`. That of experts is [experts, out, in], or
    [experts, in, out] if `transposed`, which is None until the weight has been used.
    """

    name: str
    module: torch.nn.Module
    parameter: str = "weight"
    experts: int | None = None
    transposed: bool | None = False

    @property
    def weight(self) -> torch.Tensor:
        """The weight as it lies in memory."""
        return getattr(self.module, self.parameter)


def find_layers(
    model: torch.nn.Module, include: Sequence[str] = ("*",), exclude: Sequence[str] = (), *, everything: bool = False
) -> tuple[dict[str, Layer], dict[str, str]]:
    """The layers by name in memory, without `.weight`, and the reason for each that is left out.

    `include` and `exclude` are globs of these names. The output head, routers and layers with one output are left out
    unless `everything` is set. A ValueError names a parameter of experts that cannot be observed, or a glob that
    matches nothing.
    """
    found, left_out = {}, {}
    for layer, unknown in _candidates(model):
        reason = unknown or (None if selected(layer.name, include, exclude) else "by --include and --exclude")
        if reason is None and not everything:
            reason = _reason(model, layer)
        if reason is None:
            _check_observable(layer)
            found[layer.name] = layer
        else:
            left_out[layer.name] = reason
    check_globs((*found, *left_out), include, exclude)
    return found, left_out


def _candidates(model: torch.nn.Module) -> Iterator[tuple[Layer, str | None]]:
    """Every matrix that inputs may be multiplied by, with the reason if it belongs to no layer of a known kind."""
    for path, module in model.named_modules():
        if isinstance(module, (torch.nn.Linear, Conv1D)):
            yield Layer(path, module, transposed=isinstance(module, Conv1D)), None
        elif not isinstance(module, (torch.nn.Embedding, torch.nn.modules.conv._ConvNd)):
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim < 2 or "bias" in name:
                    continue
                layer = Layer(f"{path}.{name}".lstrip("."), module, name)
                if "router" in type(module).__name__.lower() or _is_router(model, layer.name):
                    yield layer, "a router"
                elif _holds_experts(layer):
                    yield dataclasses.replace(layer, experts=len(parameter), transposed=None), None
                else:
                    yield layer, "a parameter of no linear module"


def _holds_experts(layer: Layer) -> bool:
    """Whether a parameter outside linear modules is the weight of several experts, by the words of its names.

    One of three dimensions need only lie below something that is called expert, others in a class that is called so.
    """
    words = type(layer.module).__name__ + (layer.name if layer.weight.ndim == 3 else "")
    return "expert" in words.lower()


def _check_observable(layer: Layer) -> None:
    """Refuses experts that are not stored as one matrix each."""
    weight = layer.weight
    if layer.experts is not None and not (weight.ndim == 3 and weight.is_floating_point()):
        kind = str(weight.dtype).removeprefix("torch.")
        raise ValueError(
            f"{layer.name}: the inputs of experts that are stored as {kind} {list(weight.shape)} cannot be observed; "
            "--exclude leaves them out"
        )


def _reason(model: torch.nn.Module, layer: Layer) -> str | None:
    """Why a layer is left out by default, if it is."""
    head, embedding = _embedding(model, "get_output_embeddings"), _embedding(model, "get_input_embeddings")
    if layer.module is head or layer.name.split(".")[-1] in HEADS:
        return "the output head"
    if embedding is not None and layer.weight is getattr(embedding, "weight", None):
        return "its weight is the input embedding"
    if _is_router(model, layer.name) or "router" in type(layer.module).__name__.lower():
        return "a router"
    if layer.experts is None and layer.weight.shape[1 if layer.transposed else 0] == 1:
        return "has one output"
    return None


def _embedding(model: torch.nn.Module, getter: str) -> torch.nn.Module | None:
    """What a model of transformers gives for one of its embeddings, if it does."""
    try:
        return getattr(model, getter)()
    except (AttributeError, NotImplementedError):
        return None


def _is_router(model: torch.nn.Module, name: str) -> bool:
    """Whether a component of the name is called gate or router and stands beside experts."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        if part in ("gate", "router"):
            beside = model.get_submodule(".".join(parts[:index])).named_children()
            if any("expert" in f"{child} {type(module).__name__}".lower() for child, module in beside):
                return True
    return False
