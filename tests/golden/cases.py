"""2:4 sparse matrices that a packer must get right, and where golden files are written and compared."""

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

PAIRS = list(itertools.combinations(range(4), 2))


def random_mask(m: int, k: int, seed: int) -> np.ndarray:
    """Draws a 2:4 mask, (m, k) of bool; the first groups go through all six pairs."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(PAIRS), size=(m, k // 4))
    drawn.flat[: len(PAIRS)] = range(len(PAIRS))
    table = np.zeros((len(PAIRS), 4), bool)
    for index, pair in enumerate(PAIRS):
        table[index, list(pair)] = True
    return table[drawn].reshape(m, k)


def sparse_values(mask: np.ndarray, seed: int) -> np.ndarray:
    """Fills a mask with random f16, (m, k): in a third of the groups zeros of either sign are kept, in a sixth only."""
    generator = np.random.default_rng(seed + 1)
    values = np.where(mask, generator.standard_normal(mask.shape), 0).astype(np.float16)
    values[mask & (values == 0)] = 1
    m, k = mask.shape
    groups = values.reshape(m, k // 4, 4)
    luck = generator.random((m, k // 4))
    one_zero = (luck < 1 / 6)[..., None] & (generator.random(groups.shape) < 0.5)
    all_zero = ((luck >= 1 / 6) & (luck < 1 / 3))[..., None]
    signed_zeros = np.where(generator.random(groups.shape) < 0.5, np.float16(-0.0), np.float16(0.0))
    kept = mask.reshape(groups.shape)
    return np.where(kept & (one_zero | all_zero), signed_zeros, groups).reshape(m, k)


def positions(mask: np.ndarray) -> np.ndarray:
    """The mask as a matrix whose entry (i, j) is j + 1 where kept, f16 (exact up to 2048 columns), else 0.

    Packers that find the kept entries by their values keep exactly the mask's of such a matrix, and pack where they
    came from.
    """
    assert mask.shape[1] <= 2048
    return np.where(mask, np.arange(1, mask.shape[1] + 1), 0).astype(np.float16)


def write_or_check(description: str, files: dict[str, tuple[dict[str, torch.Tensor], dict[str, str]]]) -> None:
    """Writes golden files (name: tensors and metadata) beside this one or, asked with --check, compares to the bit."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="compare with the files that are there; write none")
    check = parser.parse_args().check
    for name, (tensors, metadata) in files.items():
        path = Path(__file__).parent / name
        if not check:
            save_file(tensors, path, metadata)
        else:
            with safe_open(path, "pt") as file:
                same = sorted(file.keys()) == sorted(tensors) and file.metadata() == metadata
                same = same and all(bits(file.get_tensor(key)) == bits(tensors[key]) for key in tensors)
            if not same:
                raise SystemExit(f"{path} is not what this script makes")
        print(f"{name}: {path.stat().st_size} bytes, {'unchanged' if check else 'written'}")


def bits(tensor: torch.Tensor) -> tuple:
    """Type, shape and bytes: zeros of either sign differ."""
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().numpy().tobytes()
