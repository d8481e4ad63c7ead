"""The options of a run."""

from __future__ import annotations

import ctypes
import dataclasses
import json

from armor_core.abi import HANDLE, PRESETS, SETTERS, WORDS
from armor_core.library import Handle, check, copied_text, load_library


@dataclasses.dataclass(frozen=True)
class Options:
    """How a layer is factorised; None is the preset's default. armor.h gives meaning and range of each."""

    preset: str = "exact"
    method: str | None = None
    pattern: tuple[int, int] = (2, 4)
    left_block: int | None = None
    right_block: int | None = None
    iterations: int | None = None
    time_budget: float | None = None
    tolerance: float | None = None
    patience: int | None = None
    temperature: float | None = None
    max_extrapolation: float | None = None
    learning_rate: float | None = None
    seed: int | None = None
    threads: int | None = None
    objective: str | None = None
    shrinkage: float | None = None
    row_weighting: str | None = None
    memory_limit: int | None = None

    @classmethod
    def from_json(cls, text: str) -> Options:
        """Reads options from a JSON object; armor.h describes its keys at armor_options_from_json."""
        out, json_text = HANDLE(), text.encode()
        check(load_library().armor_options_from_json(json_text, len(json_text), ctypes.byref(out)))
        values = json.loads(_json(Handle(out, load_library().armor_options_free)))
        values["pattern"] = tuple(int(number) for number in values["pattern"].split(":"))
        return cls(**values)

    def to_json(self) -> str:
        """Returns all options as a JSON object, which `from_json` reads."""
        return _json(self.create())

    def create(self) -> Handle:
        """Creates the library's options; refuses options that are out of range."""
        lib, out = load_library(), HANDLE()
        check(lib.armor_options_create(constant("preset", self.preset, PRESETS), ctypes.byref(out)))
        made = Handle(out, lib.armor_options_free)
        n, m = self.pattern
        check(lib.armor_options_set_pattern(out, not_negative("pattern", n), not_negative("pattern", m)))
        for option in SETTERS:
            value = getattr(self, option)
            if value is None:
                continue
            value = constant(option, value, WORDS[option]) if option in WORDS else not_negative(option, value)
            check(getattr(lib, f"armor_options_set_{option}")(out, value))
        return made


def _json(options: Handle) -> str:
    """Returns the JSON of the library's options."""
    return copied_text(load_library().armor_options_to_json, options).rstrip(b"\0").decode()


def constant(option: str, name: str, constants: dict[str, int]) -> int:
    """The number of a word; refuses a word that is none."""
    if name not in constants:
        raise ValueError(f"option {option}: {name!r} is none of {', '.join(constants)}")
    return constants[name]


def not_negative(option: str, value: float) -> float:
    """Refuses what ctypes would turn into another number."""
    if value < 0:
        raise ValueError(f"option {option}: {value} is negative")
    if isinstance(value, int) and value >> 64:
        raise ValueError(f"option {option}: {value} has more than 64 bits")
    return value
