"""Finds the blocks of a model, and runs them one at a time.

A block is an element of the list of equal modules that a transformer consists of. What the model hands to its blocks
beside the hidden states (masks, position embeddings, options) is recorded while the model itself runs a sequence, so
that a block can be run alone later. That is only right where it does not depend on the tokens, and where each block is
handed what the block before it gives: `record` checks both, and refuses other architectures with the reason.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable


class UnknownArchitectureError(ValueError):
    """A model whose blocks cannot be run one at a time; the text says why."""


@dataclasses.dataclass
class Call:
    """What a block is handed beside the hidden states, and whether these are in the keywords."""

    args: tuple
    kwargs: dict[str, Any]
    keyword: str | None

    def run(self, block: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Runs a block on hidden states, (batch, sequence, width)."""
        if self.keyword is None:
            return first(block(hidden, *self.args, **self.kwargs))
        return first(block(*self.args, **{self.keyword: hidden}, **self.kwargs))


def first(output: Any) -> torch.Tensor:  # noqa: ANN401 - what a block gives
    """The hidden states that a block gives, alone or as the first of several values."""
    return output[0] if isinstance(output, (tuple, list)) else output


class Stopped(Exception):  # noqa: N818 - no error: ends a run of which the rest is not needed
    """Ends the run of a model once the wanted tensor is there."""


class StandIn(torch.nn.Module):
    """Stands in a model at the place of a block, which it does not own: to the model it has no parameters."""

    def __init__(self, block: torch.nn.Module, seen: list) -> None:
        super().__init__()
        self.__dict__["block"], self.__dict__["seen"] = block, seen

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute that the model asks a block for
        """Gives what the block has."""
        return getattr(self.__dict__["block"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Notes what the block is handed, and runs it in f32 unless only that was wanted."""
        self.seen.append((args, kwargs))
        if self.seen[0] is None:
            raise Stopped
        output = in_f32(self.block)(*args, **kwargs)
        self.seen.append(output)
        return output


def in_f32(block: torch.nn.Module) -> torch.nn.Module:
    """A copy of a block, in f32."""
    return copy.deepcopy(block).float().requires_grad_(False)


class Blocks:
    """The blocks of a model, and the model without them: `outside` runs what comes before the first of them.

    The weights of the blocks stay where they were loaded, in the files of the model as far as possible. What is around
    them is brought to f32; a language head is not run.
    """

    def __init__(self, model: torch.nn.Module, layers: Iterable[str]) -> None:
        self.path = find(model, layers)
        self._body, self._is_generative = model.base_model, model.can_generate()
        holder = model.get_submodule(self.path)
        self.modules = list(holder)
        self.names = [f"{self.path}.{index}" for index in range(len(self.modules))]
        self._seen: list = []
        for index, block in enumerate(self.modules):
            holder[index] = StandIn(block, self._seen)
        self._body.float()

    def record(self, sequences: list[list[int]]) -> list[Call]:
        """Runs the model itself on two sequences of one length: what it hands to each block.

        An UnknownArchitectureError says why the blocks cannot be run one at a time.
        """
        runs = []
        for sequence in sequences[:2]:
            self._seen[:] = []
            self._run(sequence)
            runs.append(list(self._seen))
        seen = runs[0]
        if [type(entry) for entry in seen[::2]] != [tuple] * len(self.modules) or len(seen) != 2 * len(self.modules):
            raise UnknownArchitectureError(f"the model does not run each of {self.path} once, one after the other")
        calls = [call_of(*entry) for entry in seen[::2]]
        if any(hidden is None for _, hidden in calls):
            raise UnknownArchitectureError(f"{self.path} is not handed hidden states")
        for index in range(1, len(calls)):
            if not torch.equal(first(seen[2 * index - 1]), calls[index][1]):
                raise UnknownArchitectureError(
                    f"{self.names[index]} is handed something else than {self.names[index - 1]} gives"
                )
        for other in runs[1:]:
            for name, (call, _), entry in zip(self.names, calls, other[::2]):
                again, _ = call_of(*entry)
                if not same((call.args, call.kwargs), (again.args, again.kwargs)):
                    raise UnknownArchitectureError(f"what {name} is handed beside hidden states depends on the tokens")
        return [call for call, _ in calls]

    def before(self, sequence: list[int]) -> torch.Tensor:
        """The hidden states that the first block is handed, (1, sequence, width)."""
        self._seen[:] = [None]
        try:
            self._run(sequence)
        except Stopped:
            return call_of(*self._seen[1])[1]
        raise UnknownArchitectureError(f"the model does not run {self.path}")

    def _run(self, sequence: list[int]) -> None:
        run(self._body, sequence, is_generative=self._is_generative)


def find(model: torch.nn.Module, layers: Iterable[str]) -> str:
    """The path of the list of modules with the most parameters in the given layers, in no other such list."""
    parameters: dict[str, int] = {}
    lists = [path for path, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)]
    for name in layers:
        holders = [path for path in lists if name.startswith(f"{path}.")]
        if holders:
            outermost = min(holders, key=len)
            module = model.get_submodule(outermost)
            parameters.setdefault(outermost, sum(parameter.numel() for parameter in module.parameters()))
    if not parameters:
        raise UnknownArchitectureError("the model has no list of blocks that its layers lie in")
    return max(parameters, key=lambda path: parameters[path])


def run(model: torch.nn.Module, sequence: list[int], *, is_generative: bool) -> None:
    """Runs a model on the tokens of a sequence; one that may generate text keeps nothing for that."""
    options = {"use_cache": False} if is_generative else {}
    with torch.no_grad():
        model(input_ids=torch.tensor([sequence]), **options)


def call_of(args: tuple, kwargs: dict[str, Any]) -> tuple[Call, torch.Tensor | None]:
    """Takes the hidden states out of what a block is handed."""
    if args and isinstance(args[0], torch.Tensor):
        return Call(args[1:], kwargs, None), args[0]
    hidden = kwargs.get("hidden_states")
    rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
    return Call(args, rest, "hidden_states"), hidden if isinstance(hidden, torch.Tensor) else None


def same(one: Any, other: Any) -> bool:  # noqa: ANN401 - whatever a block is handed
    """Whether two values are equal, those of tensors as well."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, (tuple, list)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one is other or (type(one) is type(other) and bool(one == other))
