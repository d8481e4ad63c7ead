"""What the commands tell a user at a terminal."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Tells the user on the standard error output."""
    print(text, file=sys.stderr)


def plain(name: str) -> str:
    """A name from a file, with escapes for what a terminal would obey."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)
