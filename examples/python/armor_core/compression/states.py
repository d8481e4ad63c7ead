"""The hidden states of all sequences between two blocks, in files that survive a kill.

They are memory-mapped: the system keeps them in memory as long as there is room, and no longer. Those of block b are
written while block b - 1 runs, under a name of their own, and replace the older ones only when they are complete.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Callable

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class HiddenStates:
    """The hidden states that a block is handed, (sequences, tokens, width) of f32, on one or more paths."""

    def __init__(self, folder: Path, paths: tuple[str, ...]) -> None:
        self.folder, self.paths = folder, paths
        folder.mkdir(parents=True, exist_ok=True)
        self.block: int | None = self._newest()
        self._arrays = {} if self.block is None else self._open(self.block)

    def _file(self, block: int, path: str) -> Path:
        return self.folder / f"block-{block:05}-{path}.npy"

    def _newest(self) -> int | None:
        """The last block whose hidden states are there on every path."""
        found = {int(name[1]) for file in self.folder.iterdir() if (name := re.match(r"block-(\d{5})-", file.name))}
        whole = [block for block in found if all(self._file(block, path).is_file() for path in self.paths)]
        return max(whole, default=None)

    def _open(self, block: int) -> dict[str, np.ndarray]:
        return {path: np.load(self._file(block, path), mmap_mode="r") for path in self.paths}

    def __len__(self) -> int:
        return len(self._arrays[self.paths[0]])

    @property
    def tokens(self) -> int:
        """The tokens of a sequence."""
        return self._arrays[self.paths[0]].shape[1]

    def get(self, path: str, index: int) -> torch.Tensor:
        """The hidden states of a sequence, (1, tokens, width)."""
        return torch.from_numpy(np.array(self._arrays[path][index : index + 1]))

    def all(self, path: str) -> Iterator[torch.Tensor]:
        """The hidden states of one sequence after another."""
        return (self.get(path, index) for index in range(len(self)))

    def begin(self, made: Callable[[int], torch.Tensor], count: int) -> None:
        """Writes the hidden states of the first block, the same on every path: `made` gives those of a sequence."""
        self._write(0, self.paths[0], map(made, range(count)), count)
        for path in self.paths[1:]:
            self._write(0, path, (torch.from_numpy(np.array(row[None])) for row in self._load(0)), count)
        self._replace(0)

    def _load(self, block: int) -> np.ndarray:
        return np.load(self._unfinished(block, self.paths[0]), mmap_mode="r")

    def advance(self, block: int, run: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
        """Replaces the hidden states by those of the next block: `run` gives them on a path."""
        for path in self.paths:
            self._write(block, path, (run(path, hidden) for hidden in self.all(path)), len(self))
        self._replace(block)

    def _unfinished(self, block: int, path: str) -> Path:
        file = self._file(block, path)
        return file.with_name(f"unfinished-{file.name}")

    def _write(self, block: int, path: str, rows: Iterable[torch.Tensor], count: int) -> None:
        array = None
        for index, row in enumerate(rows):
            values = row[0].numpy()
            if array is None:
                shape = (count, *values.shape)
                array = np.lib.format.open_memmap(self._unfinished(block, path), "w+", np.float32, shape)
            array[index] = values
        array.flush()

    def _replace(self, block: int) -> None:
        """Gives the new files their names, then removes the old ones."""
        for path in self.paths:
            with self._unfinished(block, path).open("rb") as file:
                os.fsync(file.fileno())
            self._unfinished(block, path).replace(self._file(block, path))
        self._arrays, old = self._open(block), self.block
        self.block = block
        if old is not None:
            for path in self.paths:
                self._file(old, path).unlink(missing_ok=True)
