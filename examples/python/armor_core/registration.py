"""Makes the quantizer known to transformers, as soon as transformers is imported and without importing it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

AWAITED = "transformers.quantizers.auto"
QUANTIZER = "armor_core.inference.quantizer"


class _Finder:
    """Finds the awaited module as others do, and imports the quantizer after it."""

    def find_spec(self, name: str, *_where: object) -> ModuleSpec | None:
        """The module's own specification, whose loader imports the quantizer at the end."""
        if name != AWAITED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_both(module: ModuleType) -> None:
            load(module)
            register()

        spec.loader.exec_module = load_both
        return spec


def register() -> None:
    """Imports the quantizer, which registers itself; where PyTorch is missing, there is no model to run."""
    if importlib.util.find_spec("torch") is None:
        return
    try:
        importlib.import_module(QUANTIZER)
    except ImportError as error:
        warnings.warn(
            f"armor_core: compressed models cannot be loaded by this version of transformers ({error})", stacklevel=2
        )


def await_transformers() -> None:
    """Registers the quantizer now, where transformers is there, or else when it comes."""
    if AWAITED in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _Finder())
