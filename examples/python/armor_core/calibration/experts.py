"""Observes what stacked experts are multiplied by: experts whose weights lie in one three-dimensional parameter.

Such a parameter belongs to no linear module, so no hook of a module sees the inputs. Instead `Products` is a dispatch
mode of PyTorch: while it is active, every basic operation passes through it, whatever the model calls to get there
(`linear`, `@`, `einsum`, scripted code). The address and the strides of an operand tell that it is a view of a
parameter, of which expert, and which axis is summed over; from that follows whether the parameter is [experts, out, in]
or [experts, in, out], also where both are equal in size. An operation that reads a parameter in any other way, such as
one that gathers copies of experts, raises a ValueError with the parameter's name, so that no input is missed in
silence. Models of transformers are switched to their eager implementation of experts, which multiplies by views.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from armor_core.calibration.layers import Layer

# The two factors of each basic operation that multiplies matrices.
FACTORS = {"aten::mm": (0, 1), "aten::bmm": (0, 1), "aten::addmm": (1, 2), "aten::baddbmm": (1, 2)}


class Products(TorchDispatchMode):
    """Calls `add(layer, expert, inputs)` for every product with an expert while `on` is set; use it in a `with`."""

    def __init__(self, layers: Iterable[Layer], add: Callable[[Layer, int, torch.Tensor], None]) -> None:
        super().__init__()
        self.on = True
        self._add = add
        self._layers = sorted(layers, key=lambda layer: layer.weight.data_ptr())
        self._starts = [layer.weight.data_ptr() for layer in self._layers]
        for layer in self._layers:
            if layer.weight.is_meta:
                raise ValueError(f"{layer.name}: the inputs of its experts cannot be observed: it is not in memory")

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - PyTorch's own class
        _types: tuple,
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation gives
        """Does an operation, and tells of its inputs."""
        kwargs = kwargs or {}
        layers = [layer for layer in map(self._layer, _tensors(args)) if layer is not None] if self.on else []
        if not layers:
            return func(*args, **kwargs)
        if func._schema.name in FACTORS:
            left, right = (args[index] for index in FACTORS[func._schema.name])
            if self._layer(right) is layers[0]:
                self._observe(layers[0], right, left)
                return func(*args, **kwargs)
            if self._layer(left) is layers[0]:
                self._observe(layers[0], left.mT, right.mT)
                return func(*args, **kwargs)
        with self:
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        result = func(*args, **kwargs)
        if any(made.is_floating_point() and made.numel() and not self._layer(made) for made in _tensors((result,))):
            raise ValueError(f"{layers[0].name}: the inputs of its experts cannot be observed: {func} reads it")
        return result

    def _layer(self, tensor: torch.Tensor) -> Layer | None:
        """The layer of whose weight a tensor is a view, if any."""
        index = bisect_right(self._starts, tensor.data_ptr()) - 1
        if index < 0:
            return None
        weight = self._layers[index].weight
        return self._layers[index] if tensor.data_ptr() < self._starts[index] + weight.nbytes else None

    def _observe(self, layer: Layer, factor: torch.Tensor, inputs: torch.Tensor) -> None:
        """Tells of `inputs` @ `factor`, where `factor`, (..., in, out), is a view of the layer's weight."""
        weight = layer.weight
        first, start = divmod((factor.data_ptr() - weight.data_ptr()) // weight.element_size(), weight.stride(0))
        summed = factor.size(-2), factor.stride(-2)
        axes = [axis for axis in (1, 2) if (weight.size(axis), weight.stride(axis)) == summed]
        if len(axes) != 1 or layer.transposed not in (None, axes == [1]):
            raise ValueError(f"{layer.name}: the inputs of its experts cannot be observed: it is used in several ways")
        layer.transposed = axes == [1]
        outputs, stride = weight.size(3 - axes[0]), weight.stride(3 - axes[0])
        last = start + (factor.size(-1) - 1) * factor.stride(-1)
        together = last // (outputs * stride) + 1  # experts side by side in one factor
        whole = start == 0 and factor.stride(-1) == stride and factor.size(-1) % outputs == 0
        if together > 1 and not (whole and weight.stride(0) == outputs * stride):
            raise ValueError(f"{layer.name}: the inputs of its experts cannot be observed: parts of several are mixed")
        if start != 0:  # Another part of the outputs, of the same inputs.
            return
        batches = [inputs] if factor.ndim == 2 else list(inputs)
        step = factor.stride(0) // weight.stride(0) if factor.ndim > 2 else 0
        for index, rows in enumerate(batches):
            # In a batch each expert may be given all tokens, with zeros for those that are not routed to it.
            used = rows if factor.ndim == 2 else rows[(rows != 0).any(1)]
            for expert in range(first + index * step, first + index * step + together):
                self._add(layer, expert, used)


def _tensors(arguments: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors among arguments or in lists of them."""
    for argument in arguments:
        if isinstance(argument, torch.Tensor):
            yield argument
        elif isinstance(argument, (list, tuple)):
            yield from _tensors(argument)


@contextmanager
def eager(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Switches modules of experts to the implementation that multiplies by one expert after the other."""
    configs = {id(module.config): module.config for module in modules if hasattr(module, "config")}
    before = [(config, getattr(config, "_experts_implementation", None)) for config in configs.values()]
    try:
        for config, _ in before:
            config._experts_implementation = "eager"
        yield
    finally:
        for config, implementation in before:
            config._experts_implementation = implementation


def kept(tensor: torch.Tensor, mask: torch.Tensor, experts: int = 1) -> torch.Tensor:
    """The rows of a tensor at the positions where the mask, (batch, sequence), is True.

    The tensor is (batch, sequence, ...), (positions, ...), or (experts * positions, ...), the positions of every expert
    after those of the one before. A ValueError says that it is none of these.
    """
    mask, positions = mask.to(tensor.device), mask.numel()
    if tensor.shape[:2] == mask.shape and tensor.ndim > 2:
        return tensor[mask][None]
    if tensor.shape[0] == positions:
        return tensor[mask.flatten()]
    if tensor.ndim > 2 and tensor.shape[:2] == (1, positions):
        return tensor[:, mask.flatten()]
    if tensor.shape[0] == experts * positions:
        return tensor[mask.flatten().repeat(experts)]
    raise ValueError(f"inputs of shape {list(tensor.shape)} do not tell which belong to a mask of {list(mask.shape)}")


def every_expert(name: str, given: list[Any], experts: int) -> list[Any]:
    """The arguments of a module of experts, changed so that every token goes to every expert.

    The module must take the tokens, (tokens, width), then their experts, (tokens, n), and the weights of these.
    """
    tensors = [value for value in given if isinstance(value, torch.Tensor)]
    index = [value for value in tensors if value.ndim == 2 and value.dtype in (torch.int32, torch.int64)]
    if len(index) != 1 or index[0] is tensors[0] or not tensors[0].is_floating_point():
        raise ValueError(f"--all-experts: {name} is not given the numbers of each token's experts")
    tokens = len(index[0])
    numbers = torch.arange(experts, device=index[0].device, dtype=index[0].dtype).expand(tokens, experts)

    def changed(value: Any) -> Any:  # noqa: ANN401 - any argument
        if value is index[0]:
            return numbers
        is_weight = isinstance(value, torch.Tensor) and value is not tensors[0] and value.is_floating_point()
        return value.new_ones(tokens, experts) if is_weight else value

    return [changed(value) for value in given]
