"""Puts the shared library into the wheel, one wheel for each platform and for every Python 3.

The library is the file that the environment variable ARMOR_LIBRARY names; without it, cargo builds one from the
repository that this folder lies in. An editable install has no library of its own: the package finds the one in the
repository's target folder, or that of ARMOR_LIBRARY.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# As armor_core/library.py calls it.
LIBRARY = "libarmor_core.dylib" if sys.platform == "darwin" else "libarmor_core.so"
BUILD = "cargo build --release --features capi,checkpoint --lib --message-format=json-render-diagnostics".split()
LICENSES = ("LICENSE-APACHE", "LICENSE-MIT")


class LibraryHook(BuildHookInterface):
    """Adds to the files that hatchling collects for a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Finds or builds the library; `version` is "standard" or "editable"."""
        chosen = os.environ.get("ARMOR_LIBRARY")
        if chosen and not Path(chosen).is_file():
            raise SystemExit(f"armor-core: ARMOR_LIBRARY: {chosen} is no file, seen from {Path.cwd()}")
        repository = Path(self.root).resolve().parents[1]
        library = Path(chosen) if chosen else build(repository)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"
        if version == "editable":
            return
        included = {library.resolve(): LIBRARY, **{repository / name: name for name in LICENSES}}
        for path, name in included.items():
            if path.is_file():
                build_data["force_include"][str(path)] = f"armor_core/{name}"


def build(repository: Path) -> Path:
    """Builds the library with cargo: the file. What fails ends the build with a sentence."""
    if not (repository / "Cargo.toml").is_file():
        raise SystemExit(
            f"armor-core: {repository} has no Cargo.toml: build the package where it lies in the repository of "
            "armor-core, or set ARMOR_LIBRARY to the file of a library that is built"
        )
    try:
        done = subprocess.run(BUILD, cwd=repository, stdout=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError:
        raise SystemExit(
            "armor-core: cargo was not found: install Rust, or set ARMOR_LIBRARY to the file of a library that is built"
        ) from None
    if done.returncode != 0:
        raise SystemExit(f"armor-core: cargo failed with the exit code {done.returncode}; its messages stand above")
    messages = map(json.loads, done.stdout.splitlines())
    files = [Path(file) for message in messages for file in message.get("filenames", ())]
    built = [file for file in files if file.name == LIBRARY]
    if not built:
        raise SystemExit(f"armor-core: cargo built no {LIBRARY}, so this platform is not supported")
    return built[-1]


def platform_tag() -> str:
    """The platform that the library runs on, which is this one."""
    name = sysconfig.get_platform().replace("universal2", platform.machine())  # cargo builds for one architecture
    return name.replace("-", "_").replace(".", "_")
