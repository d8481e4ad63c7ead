"""What the accumulators of the library have in common."""

from __future__ import annotations

import ctypes
import json
from typing import Any, Callable, ClassVar, TypeVar

from armor_core.abi import HANDLE
from armor_core.library import Handle, c_name, check, copied_text, load_library

S = TypeVar("S", bound="TokenSums")


class TokenSums(Handle):
    """Sums over tokens, which are merged, counted, and written to bytes in one way whatever is summed up.

    The calls of the C ABI begin with `PREFIX`; `inputs` is k.
    """

    PREFIX: ClassVar[str]

    def _hold(self, handle: ctypes.c_void_p, metadata: dict[str, str]) -> None:
        """Becomes the object of a handle; `metadata` is what its safetensors file says of it."""
        Handle.__init__(self, handle, self._call("free"))
        self.inputs = int(metadata["armor.inputs"])

    @classmethod
    def _call(cls, name: str) -> Callable[..., Any]:
        """A function of the library on such sums."""
        return getattr(load_library(), f"{cls.PREFIX}_{name}")

    @classmethod
    def from_bytes(cls: type[S], file: bytes, name: str) -> S:
        """Reads the sums of `name` from the bytes of a safetensors file."""
        out = HANDLE()
        check(cls._call("deserialize")(file, len(file), c_name(name), ctypes.byref(out)))
        made = cls.__new__(cls)
        made._hold(out, json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])["__metadata__"])
        return made

    def to_bytes(self, name: str) -> bytes:
        """Writes a safetensors file; `name` is the weight's without .weight."""
        return copied_text(self._call("serialize"), self, c_name(name))

    def __reduce__(self: S) -> tuple[Callable[..., S], tuple[bytes, str]]:
        """Pickled, they go to another process with all that was added."""
        return type(self).from_bytes, (self.to_bytes("pickled"), "pickled")

    def merge(self: S, other: S) -> None:
        """Adds what another has summed up."""
        check(self._call("merge")(self, other))

    @property
    def tokens(self) -> int:
        """How many tokens were added."""
        tokens = ctypes.c_uint64()
        check(self._call("tokens")(self, ctypes.byref(tokens)))
        return tokens.value
