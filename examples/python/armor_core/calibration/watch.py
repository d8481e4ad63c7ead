"""Accumulates the Hessians of a model's layers while the model runs."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Callable

import torch

from armor_core.accumulator import Accumulator
from armor_core.calibration.experts import Products, eager, every_expert, kept
from armor_core.calibration.output import add

if TYPE_CHECKING:
    from collections.abc import Iterator

    from armor_core.calibration.layers import Layer


class Watcher:
    """Accumulates what goes into layers while the model runs; use it in a `with`.

    `accumulators` has those of linear modules by the name of the layer, and that of expert 3 of a layer T by T[3].
    Modules that are handed the very same tensor one after the other, as q_proj, k_proj and v_proj are, share one
    accumulator: `owner` maps each module's name to that of the first. With `all_experts` every token is sent to every
    expert, beside the model's own run, whose results stay the same.
    """

    def __init__(self, layers: dict[str, Layer], kind: str = "diagonal", *, all_experts: bool = False) -> None:
        self.layers, self.kind = layers, kind
        self.accumulators: dict[str, Accumulator] = {}
        self.owner: dict[str, str] = {}
        self._all_experts = all_experts
        self._mask: torch.Tensor | None = None
        self._apart = False
        self._stack = ExitStack()
        self._last: tuple[torch.Tensor | None, int, str] = (None, 0, "")

    def __enter__(self) -> Watcher:
        with ExitStack() as stack:
            for layer in self.layers.values():
                if layer.experts is None:
                    handle = layer.module.register_forward_pre_hook(self._hook(layer.name), with_kwargs=True)
                    stack.callback(handle.remove)
            self._watch_experts(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._last = (None, 0, "")

    def by_name(self) -> dict[str, Accumulator]:
        """The accumulator of every layer and expert that tokens have reached, shared ones under each of their names."""
        return {**self.accumulators, **{name: self.accumulators[owner] for name, owner in self.owner.items()}}

    @contextmanager
    def mask(self, attention_mask: torch.Tensor) -> Iterator[None]:
        """Lets only the positions count where the attention mask, (batch, sequence), is not 0."""
        if attention_mask.ndim != 2:
            raise ValueError(f"attention_mask: has shape {list(attention_mask.shape)}, expected [batch, sequence]")
        before, self._mask = self._mask, attention_mask.bool()
        try:
            yield
        finally:
            self._mask = before

    def _hook(self, name: str) -> Callable[..., None]:
        """The hook of a linear module."""

        def hook(_module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            self._watch(name, args[0] if args else next(iter(kwargs.values())))

        return hook

    def _watch(self, name: str, inputs: torch.Tensor) -> None:
        """Adds a module's inputs, (..., k), unless they have just been added for another."""
        last, version, first = self._last
        # A tensor that was written to since is another one; those of inference mode do not tell.
        same = inputs is last and not inputs.is_inference() and inputs._version == version
        owner = first if same and first != name else name
        if self.owner.setdefault(name, owner) != owner:
            raise RuntimeError(f"{name}: shares its input with {self.owner[name]} in some calls and not in others")
        if owner != name:
            return
        self._last = (inputs, 0 if inputs.is_inference() else inputs._version, name)
        self._add(name, inputs if self._mask is None else self._kept(name, inputs))

    def _add(self, key: str, inputs: torch.Tensor) -> None:
        """Adds inputs, (..., k), to an accumulator."""
        if inputs.numel() == 0:
            return
        if key not in self.accumulators:
            self.accumulators[key] = Accumulator(inputs.shape[-1], self.kind)
        add(self.accumulators[key], key, inputs.detach().float().cpu().numpy())

    def _kept(self, name: str, tensor: torch.Tensor, experts: int = 1) -> torch.Tensor:
        """What is not padding."""
        try:
            return kept(tensor, self._mask, experts)
        except ValueError as error:
            raise ValueError(f"{name}: {error}; run the model without padding (--batch 1)") from error

    def _watch_experts(self, stack: ExitStack) -> None:
        """Observes stacked experts until the stack is closed."""
        layers = [layer for layer in self.layers.values() if layer.experts is not None]
        if not layers:
            return
        owners = {layer.module: layer for layer in layers}
        products = Products(layers, self._add_expert)
        stack.enter_context(eager(owners))
        stack.enter_context(products)

        def before(module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            if self._all_experts or self._mask is not None:
                if self._mask is None or self._mask.any():
                    self._run_apart(owners[module], list(args), kwargs)
                products.on = False

        def after(*_: object) -> None:
            products.on = True

        for module in owners:
            stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(after, always_call=True).remove)

    def _add_expert(self, layer: Layer, expert: int, inputs: torch.Tensor) -> None:
        """Adds the inputs of an expert."""
        if not self._apart and (self._all_experts or self._mask is not None):
            raise ValueError(
                f"{layer.name}: is used outside of its module, with padding or --all-experts that cannot be observed"
            )
        self._add(f"{layer.name}[{expert}]", inputs)

    def _run_apart(self, layer: Layer, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Runs a module of experts once more, on what is to count; its results go nowhere."""
        given, experts = [*args, *kwargs.values()], layer.experts or 1
        if self._mask is not None:
            given = [
                self._kept(layer.name, value, experts) if isinstance(value, torch.Tensor) and value.ndim else value
                for value in given
            ]
        if self._all_experts:
            given = every_expert(layer.name, given, experts)
        self._apart = True
        try:
            with torch.no_grad():
                layer.module.forward(*given[: len(args)], **dict(zip(kwargs, given[len(args) :])))
        finally:
            self._apart = False
