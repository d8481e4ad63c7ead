"""Experts that a model keeps stacked in one parameter, compressed: what takes the parameter's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from armor_core.inference.linear import PackedModule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Function = Callable[..., Any]


class ArmorExperts(PackedModule):
    """A stack of weights [experts, out, in], or [experts, in, out] if `transposed`, each made of layers.

    The weight of one expert, `stack[3]`, takes part in products alone: in `torch.nn.functional.linear`, or, of a stack
    that is transposed, in `x @ weight`. Where it has several layers, their outputs follow one another. The whole stack
    takes part in `torch.bmm(x, stack)` where it is transposed.
    """

    def __init__(self, layers: Sequence[Sequence[torch.nn.Module]], *, transposed: bool = False) -> None:
        """Takes the layers of each expert."""
        super().__init__()
        self.experts = torch.nn.ModuleList(torch.nn.ModuleList(parts) for parts in layers)
        self.transposed = transposed

    @property
    def shape(self) -> torch.Size:
        """That of the parameter."""
        parts = self.experts[0]
        inputs, outputs = parts[0].in_features, sum(part.out_features for part in parts)
        return torch.Size((len(self), inputs, outputs) if self.transposed else (len(self), outputs, inputs))

    @classmethod
    def __torch_function__(
        cls, function: Function, _types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> torch.Tensor:
        """Takes the place of the parameter in the product of all experts with as many inputs each."""
        is_product = function in (torch.bmm, torch.Tensor.bmm) and not kwargs
        if not is_product or not isinstance(args[1], cls) or not args[1].transposed:
            raise _refusal(function)
        x, stack = args
        return torch.stack([stack[expert].product(inputs) for expert, inputs in enumerate(x)])

    def __len__(self) -> int:
        """The number of experts."""
        return len(self.experts)

    def __getitem__(self, index: int | torch.Tensor) -> ExpertWeight:
        """The weight of an expert."""
        return ExpertWeight(self.experts[int(index)], transposed=self.transposed)


class ExpertWeight:
    """The weight of one expert, as products take it."""

    def __init__(self, parts: torch.nn.ModuleList, *, transposed: bool) -> None:
        """Takes the layers whose outputs follow one another."""
        self.parts, self.transposed = parts, transposed

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs of all layers."""
        outputs = [part(x) for part in self.parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

    def __rmatmul__(self, x: torch.Tensor) -> torch.Tensor:
        """x @ weight."""
        return self.__torch_function__(torch.matmul, (type(self),), (x, self))

    @classmethod
    def __torch_function__(
        cls, function: Function, _types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> torch.Tensor:
        """Takes the place of a tensor in the products of a layer."""
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | (kwargs or {})
        weight = given.get("weight")
        if function is torch.nn.functional.linear and isinstance(weight, cls) and not weight.transposed:
            y = weight.product(given["input"])
            return y if given.get("bias") is None else y + given["bias"]
        products = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.mm, torch.Tensor.__rmatmul__)
        if function in products and isinstance(args[1], cls) and args[1].transposed:
            return args[1].product(args[0])
        raise _refusal(function)


def _refusal(function: Function) -> TypeError:
    name = getattr(function, "__name__", function)
    return TypeError(f"{name}: the weights of compressed experts only take part in products")
