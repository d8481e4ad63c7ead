"""Finds and loads the shared library, and calls it.

The library is the file that the environment variable ARMOR_LIBRARY names. Without that variable it is the first that
can be loaded of these: the file inside this package, which a wheel has; the one that the system's loader finds; the one
that pkg-config names; and, where this package lies in the repository, the one in the target folder that
`cargo build --release --features capi,checkpoint` fills.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any, Callable

from armor_core.abi import ABI, ARGUMENTS, BUFFER_TOO_SMALL, BYTES, FEATURES, JOB_ARGUMENTS, SIZE, U32
from armor_core.errors import ArmorError

SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"
_library: ctypes.CDLL | None = None


def _candidates() -> list[str]:
    """Where the shared library may be, best first."""
    chosen = os.environ.get("ARMOR_LIBRARY")
    if chosen:
        return [chosen]
    packaged = Path(__file__).with_name(f"libarmor_core{SUFFIX}")
    found = [str(packaged)] if packaged.exists() else []
    found.append("libarmor.0.1.dylib" if sys.platform == "darwin" else "libarmor.so.0.1")
    try:
        asked = subprocess.run(
            ["pkg-config", "--variable=libdir", "armor"], capture_output=True, text=True, check=False
        )
    except OSError:  # no pkg-config
        pass
    else:
        if asked.returncode == 0 and asked.stdout.strip():
            found.append(str(Path(asked.stdout.strip()) / f"libarmor{SUFFIX}"))
    repository = Path(__file__).resolve().parents[3]
    if (repository / "Cargo.toml").is_file():
        target = Path(os.environ.get("CARGO_TARGET_DIR") or repository / "target")
        found.append(str(target / "release" / f"libarmor_core{SUFFIX}"))
    return found


def load_library() -> ctypes.CDLL:
    """Loads the shared library, once, and tells ctypes the types of its calls."""
    global _library  # noqa: PLW0603 - one library a process
    if _library is not None:
        return _library
    failures = []
    for path in _candidates():
        try:
            loaded = ctypes.CDLL(path)
            loaded.armor_abi_version.restype = U32
        except (OSError, AttributeError) as error:  # not there, or built without the feature capi
            failures.append(str(error) if path in str(error) else f"{path}: {error}")
            continue
        if loaded.armor_abi_version() < ABI:
            failures.append(f"{path}: has ABI {loaded.armor_abi_version()}, but this package needs {ABI}")
            continue
        loaded.armor_features.restype = U32
        has_jobs = loaded.armor_features() & FEATURES["checkpoint"]
        for name, types in {**ARGUMENTS, **(JOB_ARGUMENTS if has_jobs else {})}.items():
            getattr(loaded, name).argtypes = types
            getattr(loaded, name).restype = U32
        loaded.armor_version.restype = loaded.armor_last_error_message.restype = BYTES
        loaded.armor_stop_reason_name.restype = BYTES
        loaded.armor_stop_reason_name.argtypes = [U32]
        _library = loaded
        return loaded
    tried = "; ".join(failures)
    raise ImportError(f"no library of armor-core; set ARMOR_LIBRARY to its file, or build it. Tried: {tried}")


def version() -> str:
    """Returns the version of the loaded library."""
    return load_library().armor_version().decode()


def features() -> set[str]:
    """Returns the names of the optional features that the loaded library was built with."""
    flags = load_library().armor_features()
    return {name for name, flag in FEATURES.items() if flags & flag}


def check(status: int) -> None:
    """Raises what the last call on this thread failed with."""
    if status != 0:
        raise ArmorError(status, load_library().armor_last_error_message().decode())


def copied_text(call: Callable[..., int], *arguments: Any) -> bytes:  # noqa: ANN401 - whatever the call takes
    """Copies out bytes of a length that only the library knows."""
    room, needed = None, SIZE()
    while (status := call(*arguments, room, needed.value, ctypes.byref(needed))) == BUFFER_TOO_SMALL:
        room = ctypes.create_string_buffer(needed.value)  # again if another thread has made it longer by then
    check(status)
    return room.raw[: needed.value]


def c_name(name: str) -> bytes:
    """A text for C, which ends at its first NUL."""
    if "\0" in name:
        raise ValueError(f"name: {name!r} has a NUL")
    return name.encode()


class Handle:
    """An object of the library's, freed with this one."""

    def __init__(self, handle: ctypes.c_void_p, free: Callable[[ctypes.c_void_p], int]) -> None:
        self._as_parameter_ = handle
        # Not when the interpreter ends: daemon threads may be using it then, and the process's memory goes anyway.
        weakref.finalize(self, free, handle).atexit = False

    def __copy__(self) -> Handle:
        """Refused, as pickling is: a copy would not keep the object alive."""
        raise TypeError(f"a {type(self).__name__} cannot be copied")
