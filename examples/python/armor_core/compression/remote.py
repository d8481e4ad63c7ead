"""Does the work of a walk through a model in tasks of Ray, on any number of machines.

The output, the hidden states and the dense model lie where every machine finds them under the same path. What a task is
handed and what it gives is small beside that: a block, and the sums over the inputs of a layer. Any task may be run
again, for it gives the same and writes the same files: so Ray runs those of a worker that died anew.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, TypeVar

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from armor_core.cluster import for_workers, get, opened
from armor_core.compression.record import difference, writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from armor_core.compression.places import Place
    from armor_core.compression.sums import Calibration
    from armor_core.job import Job
    from armor_core.progress import ProgressFunction

T = TypeVar("T")
# How many values that tasks share a worker keeps: a block on both paths.
KEPT = 2
# The package of the code that a model brings, which no other machine has: it is sent along.
CODE = "transformers_modules."


@dataclasses.dataclass(frozen=True)
class Shared:
    """Stands for a value in the object store of Ray."""

    reference: ray.ObjectRef


@functools.lru_cache(maxsize=KEPT)
def value_of(shared: Shared) -> Any:  # noqa: ANN401 - whatever tasks share
    """The value, read once for several tasks of a worker; none of them changes it."""
    return ray.get(shared.reference)


@ray.remote
def work(function: Callable[..., T], threads: int, *arguments: Any) -> T:  # noqa: ANN401
    """Calls a function with a fixed number of threads, on which the bits of products of matrices depend."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # the library reads it when it first needs threads
    torch.set_num_threads(threads)
    return function(*(value_of(value) if isinstance(value, Shared) else value for value in arguments))


def run_layer(settings: str, index: int, calibration: Calibration) -> None:
    """Compresses a layer, whose result goes to the output folder."""
    opened(settings).run_layer_on(index, calibration)


def obstacle(work: Path, record: dict[str, Any], others: tuple[Path, ...]) -> str | None:
    """Why this machine cannot take part in a run, if it cannot."""
    if writer() != record["writer"]:
        return f"has {writer()}, and not {record['writer']}"
    for path in (work, *others):
        if not path.is_dir():
            return f"does not see {path}, which must lie on a file system that all machines share"
    try:
        different = difference(work, record)
    except (OSError, ValueError) as error:
        different = str(error)
    return different and f"sees something else in {work}, which all machines must share: {different}"


class Ray:
    """Does pieces of work in tasks of the Ray that is initialised, each with `threads` CPUs.

    A task is run anew up to `retries` times when its worker dies.
    """

    def __init__(self, settings: dict[str, Any], threads: int, retries: int) -> None:
        self._settings = for_workers(settings, threads)
        self._threads, self._retries = threads, retries
        for name, module in list(sys.modules.items()):
            if name.startswith(CODE):
                ray.cloudpickle.register_pickle_by_value(module)

    def check(self, *run: Any) -> None:  # noqa: ANN401 - the arguments of `obstacle`
        """Refuses a cluster with a machine that cannot take part in a run."""

        def look(*run: Any) -> str | None:  # noqa: ANN401 - within, so that Ray does not look for it in this package
            try:
                from armor_core.compression.remote import obstacle

                return obstacle(*run)
            except ImportError as error:
                return f"lacks what this program needs: {error}"

        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU", 0) >= self._threads:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                name = f"the machine {node['NodeManagerHostname']} of the Ray cluster"
                problem = get(ray.remote(look).options(num_cpus=0, scheduling_strategy=there).remote(*run), name)
                if problem is not None:
                    raise ValueError(f"--ray: {name} {problem}")

    def share(self, value: Any) -> Any:  # noqa: ANN401 - whatever work is done on
        """Puts a value into the object store."""
        return Shared(ray.put(value))

    def map(self, function: Callable[..., T], calls: Iterable[tuple]) -> Iterator[T]:
        """Calls a function in tasks, as many at a time as the cluster has room for, and as many that wait for it."""
        what = f"the task {function.__name__} of Ray"
        return (result for _, result in self._results(function, ((what, call) for call in calls)))

    def run_layers(
        self,
        job: Job,  # noqa: ARG002 - each worker opens it by its settings
        layers: Iterable[tuple[Place, Calibration]],
        progress: Callable[[Place], ProgressFunction | None],
    ) -> Iterator[Place]:
        """Compresses layers in tasks."""
        last: tuple[Calibration | None, ray.ObjectRef | None] = None, None

        def calls() -> Iterator[tuple[Place, tuple]]:
            nonlocal last
            for place, calibration in layers:
                if last[0] is not calibration:  # layers that share their inputs follow one another
                    last = calibration, ray.put(calibration)
                progress(place)
                yield place, (self._settings, place.index, last[1])

        return (place for place, _ in self._results(run_layer, calls()))

    def _results(self, function: Callable[..., T], calls: Iterable[tuple[Any, tuple]]) -> Iterator[tuple[Any, T]]:
        """The results of calls, in their order, with what each call is for."""
        task = work.options(name=function.__name__, num_cpus=self._threads, max_retries=self._retries)
        running: deque[tuple[Any, ray.ObjectRef]] = deque()
        try:
            for what, arguments in calls:
                running.append((what, task.remote(function, self._threads, *arguments)))
                if len(running) >= 2 * max(1, int(ray.cluster_resources().get("CPU", 0)) // self._threads):
                    yield self._first(running)
            while running:
                yield self._first(running)
        finally:
            for _, unfinished in running:
                ray.cancel(unfinished, force=True)

    def _first(self, running: deque[tuple[Any, ray.ObjectRef]]) -> tuple[Any, Any]:
        """Waits for the first of several tasks, and takes it away."""
        what, task = running[0]
        result = get(task, getattr(what, "name", what))
        running.popleft()
        return what, result
