"""Products with block-diagonal matrices, given as (blocks, p, p); a smaller last block is padded with zeros."""

from __future__ import annotations

import torch
from torch.nn.functional import pad


def times_blocks(x: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
    """D x of every row x of (n, length), where the length is at most blocks · p."""
    count, size, _ = blocks.shape
    rows, length = x.shape
    parts = pad(x, (0, count * size - length)).reshape(rows, count, size).transpose(0, 1)
    return (parts @ blocks.mT).transpose(0, 1).reshape(rows, count * size)[:, :length]


def product(left: torch.Tensor, core: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """A · S · B, (out, in), from the blocks of A and B and the whole of S."""
    return times_blocks(times_blocks(core.T, left).T, right.mT)
