"""Chooses layers by globs of their names, and names many of them in few words."""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def selected(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a name matches a glob of `include` and none of `exclude`."""
    return any(fnmatchcase(name, glob) for glob in include) and not any(fnmatchcase(name, glob) for glob in exclude)


def check_globs(names: Iterable[str], include: Sequence[str], exclude: Sequence[str]) -> None:
    """Refuses a glob that matches none of the names."""
    names = list(names)
    for option, globs in (("--include", include), ("--exclude", exclude)):
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in names):
                raise ValueError(f"{option} {glob}: matches none of the {len(names)} layers")


def summary(names: Iterable[str]) -> str:
    """Names with their numbers replaced by *, and how many names each stands for."""
    patterns = Counter(re.sub(r"(?<![^.\[])\d+(?![^.\]])", "*", name) for name in names)
    return ", ".join(pattern if count == 1 else f"{pattern} ({count})" for pattern, count in patterns.items())
