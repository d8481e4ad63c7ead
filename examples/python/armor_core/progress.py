"""Long calls of the library, which tell of their progress and can be cancelled."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Optional, TypeVar

from armor_core.abi import PHASES, WATCH, Told
from armor_core.errors import ArmorError


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a progress function is told after every iteration."""

    iteration: int
    iterations: int
    loss: float
    best_loss: float
    seconds: float
    phase: str


ProgressFunction = Callable[[Progress], Optional[bool]]
_Result = TypeVar("_Result")


def run_with_progress(call: Callable[[Any], _Result], progress: ProgressFunction | None) -> _Result:
    """Does a long call, which takes a progress function, on a thread of its own: so Ctrl-C reaches the caller.

    Ctrl-C, and any exception that `progress` raises, cancel the run and go on to the caller.
    """
    cancelled, raised = threading.Event(), []

    def watch(told: Any, _user: Any) -> int:  # noqa: ANN401 - ctypes' own pointers
        if progress is not None and not cancelled.is_set():
            fields = {name: getattr(told.contents, name) for name, _ in Told._fields_}
            fields["phase"] = PHASES.get(fields["phase"], "unknown")
            try:
                answer = progress(Progress(**fields))
                if answer is not None and not answer:
                    cancelled.set()
            except BaseException as error:  # noqa: BLE001 - must not be lost in C; raised again below
                raised.append(error)
                cancelled.set()
        return int(cancelled.is_set())

    # It and all that `call` needs live as long as the thread, however many interrupts the caller's is given.
    function = WATCH(watch)
    with ThreadPoolExecutor(max_workers=1) as thread:
        future = thread.submit(call, function)
        try:
            result = future.result()
        except KeyboardInterrupt:
            cancelled.set()
            raise
        except ArmorError:
            if not raised:
                raise
    if raised:
        raise raised.pop()  # in no list of its own frames, or only a garbage collection would end them
    return result
