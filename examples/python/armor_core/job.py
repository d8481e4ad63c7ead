"""Compresses a checkpoint layer by layer."""

from __future__ import annotations

import ctypes
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from armor_core.abi import HANDLE, SIZE, U32
from armor_core.arrays import hessian_view
from armor_core.factorization import Factorization
from armor_core.library import Handle, check, copied_text, features, load_library
from armor_core.pair_accumulator import PairAccumulator
from armor_core.progress import ProgressFunction, run_with_progress

if TYPE_CHECKING:
    from armor_core.accumulator import Accumulator


class Job(Handle):
    """A job that compresses a checkpoint layer by layer; docs/checkpoints.md lists the settings.

    The library must have the feature `checkpoint`. Threads may share a job. Processes may share the output folder: each
    of them opens the job with `resume=True` and runs other layers.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - whatever JSON has
        """Opens a job, and checks its files: all values, or only the headers with `check_values=False`."""
        if "checkpoint" not in features():
            raise NotImplementedError(
                "Job: the loaded library was built without the feature checkpoint; build it with "
                "--features capi,checkpoint"
            )
        out, text = HANDLE(), json.dumps(settings, default=os.fspath).encode()
        check(load_library().armor_job_create(text, len(text), ctypes.byref(out)))
        super().__init__(out, load_library().armor_job_free)
        count = SIZE()
        check(load_library().armor_job_layer_count(self, ctypes.byref(count)))
        name = load_library().armor_job_layer_name
        self.layers = [copied_text(name, self, index).rstrip(b"\0").decode() for index in range(count.value)]

    def _layer(self, index: int) -> int:
        """Refuses what is no layer; ctypes would turn a negative number into a huge one."""
        if not 0 <= index < len(self.layers):
            raise IndexError(f"index: is {index}, but the job has layers 0 to {len(self.layers) - 1}")
        return index

    def is_done(self, index: int) -> bool:
        """Whether a layer's result lies in the output folder, whichever process made it."""
        done = U32()
        check(load_library().armor_job_layer_done(self, self._layer(index), ctypes.byref(done)))
        return bool(done.value)

    def run_layer(self, index: int, progress: ProgressFunction | None = None) -> None:
        """Factorises a layer and stores its result; one that is done is left as it is.

        Where `progress` returns False the layer is not kept, and an ArmorError says so.
        """
        index = self._layer(index)
        run_with_progress(lambda watch: check(load_library().armor_job_run_layer(self, index, watch, None)), progress)

    def run_layer_on(
        self, index: int, calibration: Accumulator | PairAccumulator, progress: ProgressFunction | None = None
    ) -> None:
        """Does the same in a job without `hessians`: `calibration` has summed up the layer's inputs.

        Those of pairs correct the weight for what the layers before it lost, by the settings `correction` and
        `correction_ridge`. Without a token all inputs count alike.
        """
        index = self._layer(index)
        if isinstance(calibration, PairAccumulator):
            call = load_library().armor_job_run_layer_on_pairs
            run_with_progress(lambda watch: check(call(self, index, calibration, watch, None)), progress)
            return
        tokens, shape = calibration.tokens, (calibration.inputs,) * (2 if calibration.kind == "full" else 1)
        kept, view = hessian_view(calibration.hessian() if tokens else np.zeros(shape, np.float32), calibration.inputs)
        call = load_library().armor_job_run_layer_on_hessian
        run_with_progress(lambda watch: check(call(self, index, view, tokens, watch, None)), progress)
        del kept

    def layer_weight(self, index: int) -> np.ndarray:
        """The weight of a layer that is done, (m, k) of f32: A · S · B as it is stored."""
        index, rows, cols = self._layer(index), SIZE(), SIZE()
        check(load_library().armor_job_layer_shape(self, index, ctypes.byref(rows), ctypes.byref(cols)))
        array = np.empty((rows.value, cols.value), np.float32)
        check(load_library().armor_job_layer_weight(self, index, array.ctypes.data, array.size, None))
        return array

    def layer_factors(self, index: int) -> Factorization:
        """The factors of a layer that is done, in f32 as they were computed."""
        index, out = self._layer(index), HANDLE()
        check(load_library().armor_job_layer_factorization(self, index, ctypes.byref(out)))
        return Factorization(out)

    def replace_layer(self, index: int, factors: Factorization) -> None:
        """Puts other factors of the same shape, pattern and blocks in the place of those of a layer that is done.

        In a job without `hessians` the report marks the layer as `replaced`, with the losses that the factors have.
        """
        check(load_library().armor_job_replace_layer(self, self._layer(index), factors))

    def finish(self) -> None:
        """Writes the checkpoint and the reports, once every layer is done; waits where another process does so.

        A job that another process has finished in another format or dtype is an ArmorError.
        """
        check(load_library().armor_job_finish(self))

    def plan(self) -> dict[str, Any]:
        """What the job does with every file and tensor: layers, tensors that are copied and why, warnings."""
        return json.loads(copied_text(load_library().armor_job_plan, self).rstrip(b"\0"))

    def report(self) -> dict[str, Any]:
        """The contents of report.json, once finished."""
        return json.loads(copied_text(load_library().armor_job_report, self).rstrip(b"\0"))
