#!/usr/bin/env python3
"""Makes bitmask-*.safetensors with the compressed-tensors package, whose later versions no longer pack this format.

    pip install -r requirements.txt && python3 make_bitmask.py [--check]

Each file holds `dense` [m, k] f16, `mask` [m, k] u8 (1 where kept), and what the package makes of a weight that is
called `layer.weight`: `layer.compressed` [m, k/2] f16, `layer.bitmask` [m, k/8 rounded up] u8, least significant bit
first, and `layer.shape` [2, 1] i64. Its metadata says where the mask is from:

* mask=package: the package looked at the values, and filled groups of fewer than two non-zeros by its own rule; `mask`
  is what its bitmask says that it kept.
* mask=given: zeros of either sign are kept anywhere. The package, which would not see them, packs a matrix that holds
  at each kept entry its position; the values are then gathered from the positions that it packed.
"""

import numpy as np
import torch
from cases import bits, positions, random_mask, sparse_values, write_or_check
from compressed_tensors.compressors.sparse_compressors.sparse_24_bitmask import (
    Sparse24BitMaskCompressor,
)
from compressed_tensors.config import Sparse24BitMaskConfig
from compressed_tensors.utils import unpack_bitmasks

SIZES = {"package": [(16, 32), (3, 12)], "given": [(16, 64), (5, 20)]}
COMPRESSOR = Sparse24BitMaskCompressor(Sparse24BitMaskConfig())


def compress(dense: torch.Tensor) -> dict[str, torch.Tensor]:
    """Packs one weight, (m, k), by its values."""
    return COMPRESSOR.compress({"layer.weight": dense}, compression_targets={"layer"})


def case(m: int, k: int, rule: str) -> dict[str, torch.Tensor]:
    """Makes the tensors of one file, and has the package unpack what it packed."""
    mask = random_mask(m, k, seed=1000 * m + k)
    dense = sparse_values(mask, seed=1000 * m + k)
    if rule == "package":
        dense += np.float16(0)  # −0 becomes 0: a zero that the package may not keep has no sign to keep
        dense = torch.from_numpy(dense)
        packed = compress(dense)
        kept = unpack_bitmasks(packed["layer.bitmask"], [m, k]).to(torch.uint8)
    else:
        dense = torch.from_numpy(dense)
        packed = compress(torch.from_numpy(positions(mask)))
        packed["layer.compressed"] = dense.gather(1, packed["layer.compressed"].long() - 1)
        kept = torch.from_numpy(mask.astype(np.uint8))
    ((_, unpacked),) = COMPRESSOR.decompress_from_state_dict(dict(packed))
    assert bool((kept.view(m, k // 4, 4).sum(-1) == 2).all()), "two of four are kept"
    assert bits(unpacked) == bits(dense), "the package unpacks what was packed"
    assert bool((kept.bool() & (dense == 0)).any()), "zeros are kept"
    return {"dense": dense, "mask": kept, **packed}


def main() -> None:
    files = {
        f"bitmask-{m}x{k}.safetensors": (case(m, k, rule), {"mask": rule})
        for rule, sizes in SIZES.items()
        for m, k in sizes
    }
    write_or_check(__doc__, files)


if __name__ == "__main__":
    main()
