#!/usr/bin/env python3
"""Makes cutlass-*.safetensors with PyTorch's own conversion to semi-structured (CUTLASS) form, on the CPU.

    pip install -r requirements.txt && python3 make_cutlass.py [--check]

Each file holds `dense` [m, k] f16, `mask` [m, k] u8 (1 where kept), and what PyTorch makes of them: `packed` [m, k/2]
f16 and `meta` [m, k/16] i16, rows and columns reordered. Its metadata says where the mask is from:

* mask=torch: PyTorch looked at the values, and filled groups of fewer than two non-zeros by its own rule; `mask` is
  what its metadata says that it kept.
* mask=given: zeros of either sign are kept anywhere. PyTorch, which would not see them, converts a matrix that holds
  at each kept entry its position; the values are then gathered from the positions that it packed.
"""

import numpy as np
import torch
from cases import bits, positions, random_mask, sparse_values, write_or_check
from torch.sparse._semi_structured_conversions import (
    sparse_semi_structured_from_dense_cutlass as from_dense,
)
from torch.sparse._semi_structured_conversions import (
    sparse_semi_structured_to_dense_cutlass as to_dense,
)

SIZES = {
    "torch": [(32, 64), (64, 128), (256, 64)],
    "given": [(32, 512), (96, 192), (128, 128)],
}


def by_values(dense: torch.Tensor) -> dict[str, torch.Tensor]:
    """Lets PyTorch choose the mask of a 2:4 matrix, (m, k), and reads it back from its metadata."""
    packed, meta = from_dense(dense)
    mask = to_dense(torch.ones_like(packed), meta).to(torch.uint8)
    return {"dense": dense, "mask": mask, "packed": packed, "meta": meta}


def by_mask(dense: torch.Tensor, mask: np.ndarray) -> dict[str, torch.Tensor]:
    """Has PyTorch pack the entries of a mask, (m, k), whatever their values."""
    packed_positions, meta = from_dense(torch.from_numpy(positions(mask)))
    packed = dense.gather(1, packed_positions.long() - 1)
    return {"dense": dense, "mask": torch.from_numpy(mask.astype(np.uint8)), "packed": packed, "meta": meta}


def case(m: int, k: int, rule: str) -> dict[str, torch.Tensor]:
    """Makes the tensors of one file, and has PyTorch unpack what it packed."""
    mask = random_mask(m, k, seed=1000 * m + k)
    dense = sparse_values(mask, seed=1000 * m + k)
    if rule == "torch":
        dense += np.float16(0)  # −0 becomes 0: what PyTorch does not see as kept has no sign to keep
    tensor = torch.from_numpy(dense)
    tensors = by_values(tensor) if rule == "torch" else by_mask(tensor, mask)
    kept = tensors["mask"].bool()
    assert bool((kept.view(m, k // 4, 4).sum(-1) == 2).all()), "two of four are kept"
    assert bits(to_dense(tensors["packed"], tensors["meta"])) == bits(tensor), "PyTorch unpacks what was packed"
    assert bool((kept & (tensor == 0)).any()), "zeros are kept"
    assert bool((tensor == 0).view(m, k // 4, 4).all(-1).any()), "some groups are all zero"
    return tensors


def main() -> None:
    files = {
        f"cutlass-{m}x{k}.safetensors": (case(m, k, rule), {"mask": rule})
        for rule, sizes in SIZES.items()
        for m, k in sizes
    }
    write_or_check(__doc__, files)


if __name__ == "__main__":
    main()
