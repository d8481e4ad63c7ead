"""What a call of the library fails with."""

from __future__ import annotations


class ArmorError(Exception):
    """A call that failed: `status` is its ARMOR_* number; the text names the argument, what was wrong, and where."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)  # both, so that it can be pickled
        self.status = status

    def __str__(self) -> str:
        return self.args[1]
