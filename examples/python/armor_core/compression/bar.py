"""Shows how far the compression of a model is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tqdm import tqdm

from armor_core.commands.terminal import say

if TYPE_CHECKING:
    from armor_core.compression.places import Place
    from armor_core.progress import Progress, ProgressFunction


class LayersBar:
    """A bar over the entries of all weights, with the time left for the whole job; use it in a `with`.

    Where the standard error output is no terminal there is no bar, and a line for each part of the job instead.
    """

    def __init__(self, places: list[Place]) -> None:
        self._total = sum(place.entries for place in places)
        self._told: set[int] = set()
        self._done = self._before = 0
        self._begun = time.monotonic()
        self._bar = tqdm(total=self._total, unit="weight", unit_scale=True, smoothing=0, disable=None)

    def __enter__(self) -> LayersBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def start(self, done: list[Place]) -> None:
        """Counts the layers that an earlier run has compressed, which take no time now."""
        self._told.update(place.index for place in done)
        self._done = self._before = sum(place.entries for place in done)
        self._bar.initial = self._bar.n = self._done
        self._bar.refresh()

    def say(self, text: str) -> None:
        """Tells what is being done."""
        self._bar.set_description_str(text)

    def say_part(self, text: str) -> None:
        """Tells that a part of the job is done, with the time left, where there is no bar."""
        new, missing = self._done - self._before, self._total - self._done
        if self._bar.disable:
            seconds = (time.monotonic() - self._begun) * missing / new if new else None
            left = "an unknown time" if missing and not new else tqdm.format_interval(seconds or 0)
            say(f"{text}; {self._done / self._total:.0%} of the weights are done, {left} left")

    def progress(self, place: Place) -> ProgressFunction:
        """What observes the run of a layer."""
        self.say(place.name)

        def watch(progress: Progress) -> None:
            self._bar.set_postfix_str(f"iteration {progress.iteration}", refresh=False)

        return watch

    def done(self, place: Place) -> None:
        """Counts a layer, once."""
        if place.index not in self._told:
            self._told.add(place.index)
            self._done += place.entries
            self._bar.set_postfix_str("", refresh=False)
            self._bar.update(place.entries)
