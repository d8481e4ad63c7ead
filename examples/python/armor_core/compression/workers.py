"""Where the work of a walk through a model is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from armor_core.compression.places import Place
    from armor_core.compression.sums import Calibration
    from armor_core.job import Job
    from armor_core.progress import ProgressFunction

T = TypeVar("T")


class Workers(Protocol):
    """Does pieces of work that do not depend on one another."""

    def share(self, value: T) -> T:
        """What stands for a value in the calls of `map`; changes that are made to the value later may be missing."""

    def map(self, function: Callable[..., T], calls: Iterable[tuple]) -> Iterator[T]:
        """The results of calls of a function of this package, in the order of their arguments."""

    def run_layers(
        self,
        job: Job,
        layers: Iterable[tuple[Place, Calibration]],
        progress: Callable[[Place], ProgressFunction | None],
    ) -> Iterator[Place]:
        """Compresses layers on the sums of their inputs: one after the other that is done."""


class Local:
    """Does one piece of work after the other in this process."""

    def share(self, value: Any) -> Any:  # noqa: ANN401 - whatever work is done on
        """The value itself."""
        return value

    def map(self, function: Callable[..., T], calls: Iterable[tuple]) -> Iterator[T]:
        """Calls the function whenever a result is asked for."""
        return (function(*call) for call in calls)

    def run_layers(
        self,
        job: Job,
        layers: Iterable[tuple[Place, Calibration]],
        progress: Callable[[Place], ProgressFunction | None],
    ) -> Iterator[Place]:
        """Compresses one layer after the other."""
        for place, calibration in layers:
            job.run_layer_on(place.index, calibration, progress(place))
            yield place
