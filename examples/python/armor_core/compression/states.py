"""The hidden states of all sequences between two blocks, in files that survive a kill.

The sequences are divided into shards, and each has a file on each path: any process reads one and writes the next, and
the results do not depend on which does. The files are memory-mapped: the system keeps them in memory as long as there
is room, and no longer. A file has its name once it is complete. Those of block b are written while block b - 1 runs,
and the older ones are removed when all of them are there.
"""

from __future__ import annotations

import dataclasses
import os
import re
import uuid
from typing import TYPE_CHECKING, Callable

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SEQUENCES = 8
UNFINISHED = "unfinished-"


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard of the sequences in front of a block."""

    folder: Path
    block: int
    index: int

    def file(self, path: str) -> Path:
        """The file of its hidden states on a path."""
        return self.folder / f"block-{self.block:05}-{path}-{self.index:05}.npy"

    def read(self, path: str) -> Iterator[torch.Tensor]:
        """The hidden states of one sequence after another, (1, tokens, width)."""
        rows = self._rows(path)
        return (torch.tensor(rows[index : index + 1]) for index in range(len(rows)))

    def sequence(self, path: str, index: int) -> torch.Tensor:
        """Those of one sequence of the shard."""
        return torch.tensor(self._rows(path)[index : index + 1])

    def _rows(self, path: str) -> np.ndarray:
        """Those of all sequences, in the file."""
        file = self.file(path)
        try:
            return np.load(file, mmap_mode="r")
        except (EOFError, ValueError) as error:  # what numpy says of a file that is cut or is none of its own
            raise ValueError(
                f"--work: {file} is damaged; remove {self.folder}, and --resume begins with the first block again"
            ) from error

    def write(self, path: str, rows: Iterable[torch.Tensor]) -> None:
        """Writes the hidden states, complete or not at all, whoever else does the same at the same time."""
        file = self.file(path)
        unfinished = file.with_name(f"{UNFINISHED}{file.name}-{uuid.uuid4().hex}")
        values = torch.cat(list(rows)).numpy()
        try:
            with unfinished.open("wb") as opened:
                np.save(opened, values)
                opened.flush()
                os.fsync(opened.fileno())
            unfinished.replace(file)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            reason = error.strerror or "the disk is full"  # numpy says only how many numbers it has written
            raise OSError(f"--work: {file} cannot be written: {reason}") from error

    def before(self) -> Shard:
        """The same sequences in front of the block before."""
        return dataclasses.replace(self, block=self.block - 1)


class HiddenStates:
    """The hidden states that a block is handed, (sequences, tokens, width) of f32, on one or more paths.

    `block` is the last one whose hidden states are all there, or None.
    """

    def __init__(self, folder: Path, paths: tuple[str, ...], sequences: int) -> None:
        self.folder, self.paths, self.sequences = folder, paths, sequences
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob(f"{UNFINISHED}block-*"):
            file.unlink()
        blocks = {int(name[1]) for file in folder.iterdir() if (name := re.match(r"block-(\d{5})-", file.name))}
        self.block: int | None = max((block for block in blocks if not self.missing(block)), default=None)

    def shards(self, block: int | None = None) -> list[Shard]:
        """All shards in front of a block, by default of that whose hidden states are there."""
        block = self.block if block is None else block
        return [Shard(self.folder, block, index) for index in range(-(-self.sequences // SEQUENCES))]

    def missing(self, block: int) -> list[tuple[Shard, str]]:
        """The shards in front of a block that are not there, and their paths."""
        return [(shard, path) for path in self.paths for shard in self.shards(block) if not shard.file(path).is_file()]

    def begin(self, made: Callable[[int], torch.Tensor]) -> None:
        """Writes the hidden states of the first block, the same on every path: `made` gives those of a sequence."""
        for shard in dict.fromkeys(shard for shard, _ in self.missing(0)):
            first = shard.index * SEQUENCES
            rows = [made(index) for index in range(first, min(first + SEQUENCES, self.sequences))]
            for path in self.paths:
                shard.write(path, rows)
        self.move(0)

    def move(self, block: int) -> None:
        """Goes to a block whose hidden states are all there, and removes those in front of the blocks before it."""
        self.block = block
        for file in self.folder.glob("block-*.npy"):
            if int(file.name.split("-")[1]) < block:
                file.unlink()
