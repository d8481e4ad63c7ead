"""The folder beside the output that holds what a compression of a model needs to go on after a kill."""

from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING, Any, TextIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

import torch
import transformers

from armor_core.library import version

if TYPE_CHECKING:
    from pathlib import Path

RECORD, ERRORS, LOCK = "run.json", "blocks.json", "lock"


def writer() -> str:
    """The packages that results depend on, with their versions."""
    return f"armor-core {version()}, torch {torch.__version__}, transformers {transformers.__version__}"


class RunFolder:
    """A folder with the record of a run, the errors of its blocks so far, and its hidden states."""

    def __init__(self, folder: Path, record: dict[str, Any], *, resume: bool) -> None:
        """Begins a run or goes on with it; a ValueError says that the folder is of another run."""
        self.folder = folder
        begun = folder.exists() and any(file.name != LOCK for file in folder.iterdir())
        if begun and not (folder / RECORD).is_file():
            raise ValueError(f"--work: {folder} holds something else than a run; choose another folder")
        if begun and not resume:
            raise ValueError(f"--work: {folder} holds an unfinished run: go on with --resume, or remove it")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = locked(folder / LOCK)
        if not begun:
            self._put(RECORD, record)
        different = difference(folder, record)
        if different is not None:
            raise ValueError(f"--work: {folder} holds another run: {different}")

    def _put(self, name: str, content: Any) -> None:  # noqa: ANN401 - whatever JSON has
        unfinished = self.folder / f"unfinished-{name}"
        with unfinished.open("w") as file:
            json.dump(content, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.folder / name)

    def errors(self, blocks: int) -> list[dict[str, Any]]:
        """What is known of the first `blocks` blocks; a ValueError says that something is missing."""
        path = self.folder / ERRORS
        found = read(path)[:blocks] if path.is_file() else []
        if len(found) < blocks:
            raise ValueError(f"--work: {path} has {len(found)} of {blocks} blocks; remove {self.folder}")
        return found

    def put_errors(self, errors: list[dict[str, Any]]) -> None:
        """Keeps what is known of the blocks so far."""
        self._put(ERRORS, errors)

    def remove(self) -> None:
        """Removes the folder once the output is there."""
        shutil.rmtree(self.folder)
        self._lock.close()


def locked(path: Path) -> TextIO:
    """Keeps other processes from a folder as long as the file is open; where there are no locks, it does not."""
    file = path.open("w")
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"--work: another process is at work in {path.parent}") from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
    return file


def read(path: Path) -> Any:  # noqa: ANN401 - whatever JSON has
    """What a file of a run holds."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"--work: {path} is damaged: {error}; remove the folder") from error


def difference(folder: Path, record: dict[str, Any]) -> str | None:
    """What tells the run that a folder is of from another one, if anything does."""
    return first_difference(read(folder / RECORD), record)


def first_difference(there: dict[str, Any], here: dict[str, Any]) -> str | None:
    """The first key in which two records differ, with both values."""
    for key in [*here, *(key for key in there if key not in here)]:
        if there.get(key) != here.get(key):
            return f"{key} is {there.get(key)} there, and {here.get(key)} here"
    return None
