"""A linear layer whose factors are tensors of PyTorch: to train them, and for devices other than the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from armor_core.model.blocks import times_blocks

if TYPE_CHECKING:
    from armor_core.model.layer_file import Record

SEMI_STRUCTURED = (torch.float16, torch.bfloat16)


class FactorLinear(torch.nn.Module):
    """y = A (S (B x)) + bias with gradients for A, B and the kept values of S; which values are kept stays as it is.

    `left` is (blocks, p, p) and `right` (blocks, q, q), a smaller last block padded with zeros; `values` is
    (out, in · N / M), and `columns` has the column of each value within its group of M.
    """

    def __init__(
        self,
        factors: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
        shape: tuple[int, int, int],
        bias: torch.nn.Parameter | None,
        stored: tuple[tuple[str, str, str], Record],
    ) -> None:
        """Takes A, the kept values, their columns and B; (out, in, M); how A, S and B are stored, and their record."""
        super().__init__()
        left, values, columns, right = factors
        self.out_features, self.in_features, self.group = shape
        self.left, self.values, self.right = (torch.nn.Parameter(factor) for factor in (left, values, right))
        self.register_buffer("columns", columns)
        self.bias = bias
        self.dtypes, self.record = stored
        self._core: tuple[tuple, torch.Tensor] | None = None  # S as products take it, and the values that it is of

    def core(self) -> torch.Tensor:
        """S with its zeros, (out, in)."""
        groups = self.in_features // self.group
        values = self.values.reshape(self.out_features, groups, -1)
        columns = self.columns.reshape(values.shape).long()
        empty = values.new_zeros(self.out_features, groups, self.group)
        return empty.scatter(2, columns, values).reshape(self.out_features, self.in_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiplies."""
        vectors = times_blocks(x.reshape(-1, self.in_features), self.right)
        y = times_blocks(self._times_core(vectors), self.left).reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def _times_core(self, x: torch.Tensor) -> torch.Tensor:
        """S x of every vector, by the sparse units of the device where it has some that take this shape."""
        values = self.values
        if torch.is_grad_enabled() or values.requires_grad or torch.compiler.is_compiling():
            return x @ self.core().T
        # A core is kept while nobody trains it: as long as it is the same memory, unchanged.
        version = None if values.is_inference() else values._version
        key = (id(values), values.data_ptr(), version)
        if self._core is None or self._core[0] != key:
            core = self.core()
            self._core = key, torch.sparse.to_sparse_semi_structured(core) if self.takes_sparse(x) else core
        return torch.nn.functional.linear(x, self._core[1])

    def takes_sparse(self, x: torch.Tensor) -> bool:
        """Whether the core is 2:4, and x of a type and on a device with sparse units; rows and columns divide by 64."""
        two_four = self.group == 4 and 2 * self.values.shape[1] == self.in_features
        sizes = self.out_features % 64 == 0 and self.in_features % 64 == 0
        return x.is_cuda and two_four and sizes and x.dtype in SEMI_STRUCTURED

    def _apply(self, *arguments: object, **named: object) -> FactorLinear:
        self._core = None
        return super()._apply(*arguments, **named)

    def extra_repr(self) -> str:
        """The shape, and the sizes of the blocks."""
        shape = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        return f"{shape}, left_block={self.left.shape[1]}, right_block={self.right.shape[1]}"
