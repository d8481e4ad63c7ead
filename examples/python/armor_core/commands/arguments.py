"""Checks of the command line that several commands make: types of arguments, and the error that says what is wrong."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from pathlib import Path

MOST_THREADS = 1024


class UsageError(Exception):
    """A command line whose arguments, each right by itself, do not go together: ends with the exit code 2."""


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _at_least(text, 1)


def not_negative(text: str) -> int:
    """A whole number of at least 0."""
    return _at_least(text, 0)


def number(text: str) -> float:
    """A number, neither NaN nor infinite."""
    try:
        found = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no number") from None
    if not math.isfinite(found):
        raise ArgumentTypeError(f"{text} is not finite")
    return found


def threads(text: str) -> int:
    """A number of threads; PyTorch crashes where there are too many."""
    found = not_negative(text)
    if found > MOST_THREADS:
        raise ArgumentTypeError(f"{found} is above {MOST_THREADS}")
    return found


def folder(text: str) -> Path:
    """A folder that is there."""
    path = Path(text)
    if not path.is_dir():
        raise ArgumentTypeError(f"{text} is no folder")
    return path


def file(text: str) -> Path:
    """A file that is there."""
    path = Path(text)
    if not path.is_file():
        raise ArgumentTypeError(f"{text} is no file")
    return path


def _at_least(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no whole number") from None
    if number < least:
        raise ArgumentTypeError(f"{number} is below {least}")
    return number
