"""Chooses layers by globs of their names, and names many of them in few words.

In a glob {0..11} stands for every number from 0 to 11, and {a,b} for a or b.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST = 10_000  # numbers in a range, more than the blocks of any model


def selected(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a name matches a glob of `include` and none of `exclude`."""
    return any(matches(name, glob) for glob in include) and not any(matches(name, glob) for glob in exclude)


def matches(name: str, glob: str) -> bool:
    """Whether a name matches a glob."""
    return any(fnmatchcase(name, simple) for simple in spelt_out(glob))


@functools.cache
def spelt_out(glob: str) -> list[str]:
    """The globs without braces that a glob stands for."""
    found = re.search(r"{([^{}]*)}", glob)
    if found is None:
        return [glob]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    words = found[1].split(",")
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        if not first <= last < first + LONGEST:
            raise ValueError(f"{glob}: {found[1]} is no range of 1 to {LONGEST} numbers")
        words = [str(number) for number in range(first, last + 1)]
    before, after = glob[: found.start()], spelt_out(glob[found.end() :])
    return [f"{before}{word}{rest}" for word in words for rest in after]


def check_globs(names: Iterable[str], include: Sequence[str], exclude: Sequence[str]) -> None:
    """Refuses a glob that matches none of the names."""
    names = list(names)
    for option, globs in (("--include", include), ("--exclude", exclude)):
        for glob in globs:
            if not any(matches(name, glob) for name in names):
                raise ValueError(f"{option} {glob}: matches none of the {len(names)} layers")


def summary(names: Iterable[str]) -> str:
    """Names with their numbers replaced by *, and how many names each stands for."""
    patterns = Counter(re.sub(r"(?<![^.\[])\d+(?![^.\]])", "*", name) for name in names)
    return ", ".join(pattern if count == 1 else f"{pattern} ({count})" for pattern, count in patterns.items())
