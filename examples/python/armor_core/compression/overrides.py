"""Other options for some layers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from armor_core.calibration.choice import matches, spelt_out, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from armor_core.calibration.output import Stored


@dataclass(frozen=True)
class Override:
    """Options that the layers of a glob have instead of those of the job."""

    glob: str
    options: dict[str, Any]

    @staticmethod
    def parse(given: Sequence[str]) -> Override:
        """Reads a glob and one or several KEY=VALUE."""
        glob, *pairs = given
        spelt_out(glob)
        if not pairs:
            raise ValueError(f"--override {glob}: no KEY=VALUE follows, such as block=128")
        options = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals or not key or not value:
                raise ValueError(f"--override {glob}: {pair!r} is not of the form KEY=VALUE")
            if key in options:
                raise ValueError(f"--override {glob}: {key} is given twice")
            options[key] = _value(value)
        return Override(glob, options)

    def setting(self, stored: Sequence[Stored]) -> dict[str, Any]:
        """The setting of the job, which names tensors on disk."""
        tensors = []
        for weight in stored:
            found = [layer for layer in weight.layers if matches(layer, self.glob)]
            if found and len(found) < len(weight.layers):
                others = summary(layer for layer in weight.layers if layer not in found)
                raise ValueError(f"--override {self.glob}: does not match {others}, which has the same tensor on disk")
            if found:
                tensors.append(weight.tensor)
        if not tensors:
            raise ValueError(f"--override {self.glob}: matches no layer that is compressed")
        return {"layers": sorted(tensors), "options": self.options}


def _value(text: str) -> Any:  # noqa: ANN401 - any value of JSON
    """A number or another value of JSON, or else a word."""
    try:
        return json.loads(text)
    except ValueError:
        return text
