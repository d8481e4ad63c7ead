"""ARMOR from Python, by ctypes and numpy on the C ABI: no compiler is needed.

    import armor
    layer = armor.factorize(weight, hessian, armor.Options(left_block=32, iterations=60))
    layer.report.loss, layer.reconstruct()

This file stands by itself, to be pasted where it is needed. It looks for the shared library in the environment
variable ARMOR_LIBRARY (a file), where the system's loader looks, where pkg-config says, and in the target folder that
`cargo build --release --features capi` fills. Jobs need a library with the feature `checkpoint`. Shapes are those of a
linear layer of m outputs and k inputs.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

ABI = 3
FEATURES = {"checkpoint": 1, "lapack": 2}
SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"
BUFFER_TOO_SMALL = 11
DTYPES = {"float32": 1, "float64": 2, "float16": 3, "bfloat16": 4}
PRESETS = {"exact": 1, "paper": 2}
WORDS = {
    "method": {"exact": 1, "paper": 2, "gradient": 3},
    "objective": {"diagonal": 1, "full": 2},
    "row_weighting": {"nowag": 1, "uniform": 2},
}
KINDS = {"diagonal": 1, "full": 2, "identity": 3}
PHASES = {1: "annealing", 2: "descending"}

_SIZE, _U32, _BYTES, _HANDLE = ctypes.c_size_t, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_void_p
_OUT, _SIZE_OUT = ctypes.POINTER(_HANDLE), ctypes.POINTER(_SIZE)


class Matrix(ctypes.Structure):
    """armor_matrix: rows of a matrix in the caller's memory."""

    _fields_ = (("data", _HANDLE), ("rows", _SIZE), ("cols", _SIZE), ("row_stride", _SIZE), ("dtype", _U32))


class Hessian(ctypes.Structure):
    """armor_hessian: a Hessian in the caller's memory, or its diagonal."""

    _fields_ = (("data", _HANDLE), ("len", _SIZE), ("row_stride", _SIZE), ("kind", _U32), ("dtype", _U32))


class Sizes(ctypes.Structure):
    """armor_sizes: the shapes of a factorisation, and the elements of its arrays."""

    _fields_ = tuple(
        (name, _SIZE)
        for name in (
            "struct_size rows cols left_block left_blocks right_block right_blocks pattern_n pattern_m "
            "left right core_values core_bitmask dense history"
        ).split()
    )


class Report(ctypes.Structure):
    """armor_report: the record of a run."""

    _fields_ = (
        *((name, _SIZE) for name in "struct_size iterations stored_bytes_f32 stored_bytes_f16".split()),
        *((name, ctypes.c_double) for name in "loss nowag_p_loss overhead seconds".split()),
        ("stop_reason", _U32),
        ("reserved", _U32),
        ("ridge", ctypes.c_double),
        ("dead_inputs", ctypes.c_uint64),
    )


class PackedSizes(ctypes.Structure):
    """armor_packed_sizes: shape, bytes and dtypes of a packed layer."""

    _fields_ = (
        *((name, _SIZE) for name in "struct_size rows cols left_bytes core_bytes right_bytes bytes".split()),
        *((name, _U32) for name in "left_dtype core_dtype right_dtype reserved".split()),
    )


class _Told(ctypes.Structure):
    """armor_progress."""

    _fields_ = (
        ("iteration", _SIZE),
        ("iterations", _SIZE),
        ("loss", ctypes.c_double),
        ("best_loss", ctypes.c_double),
        ("seconds", ctypes.c_double),
        ("phase", _U32),
    )


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
_WATCH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Told), _HANDLE)
_COPY = (_HANDLE, _HANDLE, _SIZE, _SIZE_OUT)

_SETTERS = {
    "method": _U32,
    "left_block": _SIZE,
    "right_block": _SIZE,
    "iterations": _SIZE,
    "time_budget": ctypes.c_double,
    "tolerance": ctypes.c_double,
    "patience": _SIZE,
    "temperature": ctypes.c_double,
    "max_extrapolation": ctypes.c_double,
    "learning_rate": ctypes.c_double,
    "seed": ctypes.c_uint64,
    "threads": _SIZE,
    "objective": _U32,
    "shrinkage": ctypes.c_double,
    "row_weighting": _U32,
    "memory_limit": _SIZE,
}

_ARGUMENTS = {
    "armor_options_create": (_U32, _OUT),
    "armor_options_free": (_HANDLE,),
    "armor_options_from_json": (_BYTES, _SIZE, _OUT),
    "armor_options_to_json": (_HANDLE, _HANDLE, _SIZE, _SIZE_OUT),
    "armor_options_set_pattern": (_HANDLE, _SIZE, _SIZE),
    **{f"armor_options_set_{option}": (_HANDLE, kind) for option, kind in _SETTERS.items()},
    "armor_factorize": (ctypes.POINTER(Matrix), ctypes.POINTER(Hessian), _HANDLE, _WATCH, _HANDLE, _OUT),
    "armor_factorization_free": (_HANDLE,),
    "armor_factorization_get_sizes": (_HANDLE, ctypes.POINTER(Sizes)),
    "armor_factorization_get_report": (_HANDLE, ctypes.POINTER(Report)),
    **{
        f"armor_factorization_{call}": _COPY
        for call in (
            "copy_left copy_right copy_core_values copy_core_bitmask copy_core_dense copy_history reconstruct"
        ).split()
    },
    "armor_factorization_output_error": (
        _HANDLE,
        ctypes.POINTER(Matrix),
        ctypes.POINTER(Hessian),
        ctypes.POINTER(ctypes.c_double),
    ),
    "armor_factorization_apply": (_HANDLE, _HANDLE, _SIZE, _HANDLE, _SIZE, _SIZE_OUT),
    "armor_factorization_serialize": (_HANDLE, _BYTES, _HANDLE, _SIZE, _SIZE_OUT),
    "armor_factorization_deserialize": (_BYTES, _SIZE, _BYTES, _OUT),
    "armor_packed_create": (_HANDLE, _U32, _U32, _U32, _SIZE, _OUT),
    "armor_packed_free": (_HANDLE,),
    "armor_packed_get_sizes": (_HANDLE, ctypes.POINTER(PackedSizes)),
    "armor_packed_scratch_len": (_HANDLE, _SIZE, _SIZE_OUT),
    "armor_packed_apply_batch": (_HANDLE, ctypes.POINTER(Matrix), _HANDLE, _SIZE, _SIZE, _HANDLE, _SIZE),
    "armor_accumulator_create": (_SIZE, _U32, _OUT),
    "armor_accumulator_free": (_HANDLE,),
    "armor_accumulator_add": (_HANDLE, ctypes.POINTER(Matrix)),
    "armor_accumulator_merge": (_HANDLE, _HANDLE),
    "armor_accumulator_tokens": (_HANDLE, ctypes.POINTER(ctypes.c_uint64)),
    "armor_accumulator_copy": _COPY,
    "armor_accumulator_serialize": (_HANDLE, _BYTES, _HANDLE, _SIZE, _SIZE_OUT),
    "armor_accumulator_deserialize": (_BYTES, _SIZE, _BYTES, _OUT),
}

# Only a library with the feature checkpoint has these.
_JOB_ARGUMENTS = {
    "armor_job_create": (_BYTES, _SIZE, _OUT),
    "armor_job_layer_count": (_HANDLE, _SIZE_OUT),
    "armor_job_layer_name": (_HANDLE, _SIZE, _HANDLE, _SIZE, _SIZE_OUT),
    "armor_job_layer_done": (_HANDLE, _SIZE, ctypes.POINTER(_U32)),
    "armor_job_run_layer": (_HANDLE, _SIZE, _WATCH, _HANDLE),
    "armor_job_finish": (_HANDLE,),
    "armor_job_plan": (_HANDLE, _HANDLE, _SIZE, _SIZE_OUT),
    "armor_job_report": (_HANDLE, _HANDLE, _SIZE, _SIZE_OUT),
    "armor_job_free": (_HANDLE,),
}


class ArmorError(Exception):
    """A call that failed: `status` is its ARMOR_* number; the text names the argument, what was wrong, and where."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)  # both, so that it can be pickled
        self.status = status

    def __str__(self) -> str:
        return self.args[1]


_library: ctypes.CDLL | None = None


def _candidates() -> list[str]:
    """Where the shared library may be, best first."""
    chosen = os.environ.get("ARMOR_LIBRARY")
    if chosen:
        return [chosen]
    found = ["libarmor.0.1.dylib" if sys.platform == "darwin" else "libarmor.so.0.1"]
    try:
        asked = subprocess.run(
            ["pkg-config", "--variable=libdir", "armor"], capture_output=True, text=True, check=False
        )
    except OSError:  # no pkg-config
        pass
    else:
        if asked.returncode == 0 and asked.stdout.strip():
            found.append(str(Path(asked.stdout.strip()) / f"libarmor{SUFFIX}"))
    target = os.environ.get("CARGO_TARGET_DIR") or Path(__file__).resolve().parents[2] / "target"
    found.append(str(Path(target) / "release" / f"libarmor_core{SUFFIX}"))
    return found


def library() -> ctypes.CDLL:
    """Loads the shared library, once, and tells ctypes the types of its calls."""
    global _library  # noqa: PLW0603 - one library a process
    if _library is not None:
        return _library
    failures = []
    for path in _candidates():
        try:
            loaded = ctypes.CDLL(path)
            loaded.armor_abi_version.restype = _U32
        except (OSError, AttributeError) as error:  # not there, or built without the feature capi
            failures.append(f"  {path}: {error}")
            continue
        if loaded.armor_abi_version() < ABI:
            failures.append(f"  {path}: speaks ABI {loaded.armor_abi_version()}, this module needs {ABI}")
            continue
        loaded.armor_features.restype = _U32
        has_jobs = loaded.armor_features() & FEATURES["checkpoint"]
        for name, types in {**_ARGUMENTS, **(_JOB_ARGUMENTS if has_jobs else {})}.items():
            getattr(loaded, name).argtypes = types
            getattr(loaded, name).restype = _U32
        loaded.armor_version.restype = loaded.armor_last_error_message.restype = _BYTES
        loaded.armor_stop_reason_name.restype = _BYTES
        loaded.armor_stop_reason_name.argtypes = [_U32]
        _library = loaded
        return loaded
    tried = "\n".join(failures)
    raise ImportError(f"no library of armor; set ARMOR_LIBRARY to its file, or build it. Tried:\n{tried}")


def version() -> str:
    """Returns the version of the loaded library."""
    return library().armor_version().decode()


def features() -> set[str]:
    """Returns the names of the optional features that the loaded library was built with."""
    flags = library().armor_features()
    return {name for name, flag in FEATURES.items() if flags & flag}


def _check(status: int) -> None:
    """Raises what the last call on this thread failed with."""
    if status != 0:
        raise ArmorError(status, library().armor_last_error_message().decode())


def _run(call: Callable[[Any], _Result], progress: ProgressFunction | None) -> _Result:
    """Does a long call, which takes a progress function, on a thread of its own: so Ctrl-C reaches the caller.

    Ctrl-C, and any exception that `progress` raises, cancel the run and go on to the caller.
    """
    cancelled, raised = threading.Event(), []

    def watch(told: Any, _user: Any) -> int:  # noqa: ANN401 - ctypes' own pointers
        if progress is not None and not cancelled.is_set():
            fields = {name: getattr(told.contents, name) for name, _ in _Told._fields_}
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
    function = _WATCH(watch)
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


def _text(call: Callable[..., int], *arguments: Any) -> bytes:  # noqa: ANN401 - whatever the call takes
    """Copies out bytes of a length that only the library knows."""
    room, needed = None, _SIZE()
    while (status := call(*arguments, room, needed.value, ctypes.byref(needed))) == BUFFER_TOO_SMALL:
        room = ctypes.create_string_buffer(needed.value)  # again if another thread has made it longer by then
    _check(status)
    return room.raw[: needed.value]


def _name(name: str) -> bytes:
    """A text for C, which ends at its first NUL."""
    if "\0" in name:
        raise ValueError(f"name: {name!r} has a NUL")
    return name.encode()


def _array(name: str, data: ArrayLike) -> tuple[np.ndarray, int]:
    """Gives numpy's view of an array, or of a CPU tensor of PyTorch, and its ARMOR_DTYPE_*."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.Tensor):
        data = data.detach().cpu()
        if data.dtype == torch.bfloat16:  # which numpy lacks: its 16 bits as they are
            return np.require(data.view(torch.int16).numpy(), requirements="A"), DTYPES["bfloat16"]
        data = data.numpy()
    array = np.require(data, requirements="A")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.name not in DTYPES:
        raise TypeError(f"{name}: a dtype of {array.dtype}, expected one of {', '.join(DTYPES)}")
    return array, DTYPES[array.dtype.name]


def _matrix(name: str, data: ArrayLike, *, one_row: bool = False) -> tuple[np.ndarray, Matrix]:
    """Views (rows, cols) in place where its columns lie side by side, else in a copy; keep the array with the view."""
    array, dtype = _array(name, data)
    if one_row:
        array = array.reshape(1, -1)
    if array.ndim != 2:
        raise ValueError(f"{name}: has {array.ndim} dimensions, expected 2")
    rows, cols = array.shape
    stride, rest = divmod(array.strides[0], array.itemsize)
    if rest or stride < cols or array.strides[1] != array.itemsize:
        array, stride = np.ascontiguousarray(array), cols
    return array, Matrix(array.ctypes.data, rows, cols, stride, dtype)


def _hessian(data: ArrayLike | None, cols: int) -> tuple[np.ndarray | None, Hessian]:
    """Views a Hessian (k, k), its diagonal (k,), or none (None)."""
    if data is None:
        return None, Hessian(None, cols, 0, KINDS["identity"], 0)
    array, dtype = _array("hessian", data)
    if array.ndim == 2 and array.shape[0] == array.shape[1]:
        array, view = _matrix("hessian", data)
        return array, Hessian(view.data, view.rows, view.row_stride, KINDS["full"], dtype)
    if array.ndim != 1:
        raise ValueError(f"hessian: has shape {list(array.shape)}, expected [k, k] or [k]")
    array = np.ascontiguousarray(array)
    return array, Hessian(array.ctypes.data, len(array), 0, KINDS["diagonal"], dtype)


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
        out, json_text = _HANDLE(), text.encode()
        _check(library().armor_options_from_json(json_text, len(json_text), ctypes.byref(out)))
        values = json.loads(_json(_Handle(out, library().armor_options_free)))
        values["pattern"] = tuple(int(number) for number in values["pattern"].split(":"))
        return cls(**values)

    def to_json(self) -> str:
        """Returns all options as a JSON object, which `from_json` reads."""
        return _json(self.create())

    def create(self) -> _Handle:
        """Creates the library's options; refuses options that are out of range."""
        lib, out = library(), _HANDLE()
        _check(lib.armor_options_create(_constant("preset", self.preset, PRESETS), ctypes.byref(out)))
        made = _Handle(out, lib.armor_options_free)
        n, m = self.pattern
        _check(lib.armor_options_set_pattern(out, _not_negative("pattern", n), _not_negative("pattern", m)))
        for option in _SETTERS:
            value = getattr(self, option)
            if value is None:
                continue
            value = _constant(option, value, WORDS[option]) if option in WORDS else _not_negative(option, value)
            _check(getattr(lib, f"armor_options_set_{option}")(out, value))
        return made


def _json(options: _Handle) -> str:
    """Returns the JSON of the library's options."""
    return _text(library().armor_options_to_json, options).rstrip(b"\0").decode()


def _constant(option: str, name: str, constants: dict[str, int]) -> int:
    """The number of a word; refuses a word that is none."""
    if name not in constants:
        raise ValueError(f"option {option}: {name!r} is none of {', '.join(constants)}")
    return constants[name]


def _not_negative(option: str, value: float) -> float:
    """Refuses what ctypes would turn into another number."""
    if value < 0:
        raise ValueError(f"option {option}: {value} is negative")
    if isinstance(value, int) and value >> 64:
        raise ValueError(f"option {option}: {value} has more than 64 bits")
    return value


class _Handle:
    """An object of the library's, freed with this one."""

    def __init__(self, handle: ctypes.c_void_p, free: Callable[[ctypes.c_void_p], int]) -> None:
        self._as_parameter_ = handle
        # Not when the interpreter ends: daemon threads may be using it then, and the process's memory goes anyway.
        weakref.finalize(self, free, handle).atexit = False

    def __copy__(self) -> _Handle:
        """Refused, as pickling is: a copy would not keep the object alive."""
        raise TypeError(f"a {type(self).__name__} cannot be copied")


def factorize(
    weight: ArrayLike,
    hessian: ArrayLike | None = None,
    options: Options | None = None,
    progress: ProgressFunction | None = None,
) -> Factorization:
    """Factorises a weight (m, k) under the Hessian of its inputs: (k, k), its diagonal (k,), or None for none.

    f32, f64, f16 and bf16 (PyTorch's, or ml_dtypes') are read in place. `progress` is called after every iteration, on
    another thread; where it returns False the run is cancelled and its best state returned.
    """
    kept, matrix = _matrix("weight", weight)
    also_kept, view = _hessian(hessian, matrix.cols)
    made = (options or Options()).create()

    def call(watch: Any) -> Factorization:  # noqa: ANN401 - ctypes' own function
        out = _HANDLE()
        _check(library().armor_factorize(matrix, view, made, watch, None, ctypes.byref(out)))
        _ = kept, also_kept  # the memory that the views are of has to live until here
        return Factorization(out)  # freed also where no one waits for it any more

    return _run(call, progress)


class Factorization(_Handle):
    """A factorised layer, A · S · B for the caller's own weight; it never changes, and any thread may read it."""

    def __init__(self, handle: ctypes.c_void_p) -> None:
        super().__init__(handle, library().armor_factorization_free)

    @classmethod
    def from_bytes(cls, file: bytes, name: str) -> Factorization:
        """Reads the factorisation of `name` from the bytes of a safetensors file."""
        out = _HANDLE()
        _check(library().armor_factorization_deserialize(file, len(file), _name(name), ctypes.byref(out)))
        return cls(out)

    def to_bytes(self, name: str) -> bytes:
        """Writes a safetensors file; `name` is the weight's without .weight."""
        return _text(library().armor_factorization_serialize, self, _name(name))

    @property
    def sizes(self) -> Sizes:
        """The shapes of all arrays."""
        sizes = Sizes(ctypes.sizeof(Sizes))
        _check(library().armor_factorization_get_sizes(self, sizes))
        return sizes

    @property
    def report(self) -> Report:
        """The record of the run: its losses, iterations, sizes and time."""
        report = Report(ctypes.sizeof(Report))
        _check(library().armor_factorization_get_report(self, report))
        return report

    @property
    def stop_reason(self) -> str:
        """Why the run ended, in a word."""
        return library().armor_stop_reason_name(self.report.stop_reason).decode()

    def _copy(self, call: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
        array = np.empty(shape, dtype)
        _check(getattr(library(), f"armor_factorization_{call}")(self, array.ctypes.data, array.size, None))
        return array

    def left(self) -> np.ndarray:
        """A's blocks, (blocks, p, p) of f32; a smaller last one is padded with zeros."""
        s = self.sizes
        return self._copy("copy_left", (s.left_blocks, s.left_block, s.left_block))

    def right(self) -> np.ndarray:
        """B's blocks, (blocks, q, q), alike."""
        s = self.sizes
        return self._copy("copy_right", (s.right_blocks, s.right_block, s.right_block))

    def core_values(self) -> np.ndarray:
        """The core's kept values, (m, kN/M) of f32, by row in ascending column order."""
        s = self.sizes
        return self._copy("copy_core_values", (s.rows, s.core_values // s.rows))

    def core_mask(self) -> np.ndarray:
        """Which entries the core keeps, (m, k) of bool."""
        s = self.sizes
        bits = self._copy("copy_core_bitmask", (s.rows, s.core_bitmask // s.rows), np.uint8)
        return np.unpackbits(bits, axis=1, count=s.cols, bitorder="little").astype(bool)

    def core(self) -> np.ndarray:
        """S, (m, k) of f32, zeros included."""
        s = self.sizes
        return self._copy("copy_core_dense", (s.rows, s.cols))

    def history(self) -> np.ndarray:
        """The loss of the initial mask, then after every iteration: (iterations + 1,) of f64."""
        return self._copy("copy_history", (self.sizes.history,), np.float64)

    def reconstruct(self) -> np.ndarray:
        """A · S · B, (m, k) of f32: what replaces the weight."""
        s = self.sizes
        return self._copy("reconstruct", (s.rows, s.cols))

    def apply(self, x: ArrayLike) -> np.ndarray:
        """A · (S · (B · x)) for one input x (k,): (m,) of f32. A plain reference, not a fast kernel."""
        x = np.ascontiguousarray(x, np.float32)
        y = np.empty(self.sizes.rows, np.float32)
        _check(library().armor_factorization_apply(self, x.ctypes.data, x.size, y.ctypes.data, y.size, None))
        return y

    def output_error(self, weight: ArrayLike, hessian: ArrayLike) -> float:
        """The relative output error tr(E H Eᵀ) / tr(W H Wᵀ), E = W - A · S · B, of the weight W (m, k).

        The Hessian, (k, k) or its diagonal (k,), may be one held out: that says what the fit is worth.
        """
        (kept, matrix), out = _matrix("weight", weight), ctypes.c_double()
        also_kept, view = _hessian(hessian, matrix.cols)
        _check(library().armor_factorization_output_error(self, matrix, view, ctypes.byref(out)))
        del kept, also_kept
        return out.value


class Packed(_Handle):
    """A factorised layer for fast products, each factor in float32, float16 or bfloat16."""

    def __init__(self, layer: Factorization, dtype: str | tuple[str, str, str] = "bfloat16", threads: int = 0) -> None:
        """Packs a layer, with one dtype for all factors or one each for A, S and B.

        `threads` is 0 for the pool of the process, 1 for the calling thread alone, more for a pool of this layer's own.
        """
        names = (dtype,) * 3 if isinstance(dtype, str) else tuple(dtype)
        if len(names) != 3:
            raise ValueError(f"option dtype: {dtype!r} has {len(names)} names, expected one or three")
        out, (left, core, right) = _HANDLE(), (_constant("dtype", name, DTYPES) for name in names)
        threads = _not_negative("threads", threads)
        _check(library().armor_packed_create(layer, left, core, right, threads, ctypes.byref(out)))
        super().__init__(out, library().armor_packed_free)

    @property
    def sizes(self) -> PackedSizes:
        """The shape of the layer, and the bytes and the ARMOR_DTYPE_* number of each factor."""
        sizes = PackedSizes(ctypes.sizeof(PackedSizes))
        _check(library().armor_packed_get_sizes(self, ctypes.byref(sizes)))
        return sizes

    def apply(self, x: ArrayLike) -> np.ndarray:
        """A · (S · (B · x)) of one input (k,), or of every row of a batch (batch, k): (m,) or (batch, m) of f32."""
        single = np.ndim(x) == 1
        kept, view = _matrix("x", x, one_row=single)
        y = np.empty((view.rows, self.sizes.rows), np.float32)
        _check(library().armor_packed_apply_batch(self, view, y.ctypes.data, y.shape[1], y.size, None, 0))
        del kept
        return y[0] if single else y


class Accumulator(_Handle):
    """The Hessian of a layer's inputs, H = (1/N) Σ x xᵀ over N tokens, or its diagonal, summed up piece by piece.

    Any thread may use it, one at a time; several threads are served better by one each, merged at the end.
    """

    def __init__(self, inputs: int, kind: str = "diagonal") -> None:
        """Starts with no token of `inputs` numbers, k; `kind` is diagonal or full."""
        out = _HANDLE()
        number = _constant("kind", kind, KINDS)
        _check(library().armor_accumulator_create(_not_negative("inputs", inputs), number, ctypes.byref(out)))
        super().__init__(out, library().armor_accumulator_free)
        self.inputs, self.kind = inputs, kind

    @classmethod
    def from_bytes(cls, file: bytes, name: str) -> Accumulator:
        """Reads the accumulator of `name` from the bytes of a safetensors file."""
        out = _HANDLE()
        _check(library().armor_accumulator_deserialize(file, len(file), _name(name), ctypes.byref(out)))
        made = cls.__new__(cls)
        _Handle.__init__(made, out, library().armor_accumulator_free)
        metadata = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])["__metadata__"]
        made.inputs, made.kind = int(metadata["armor.inputs"]), metadata["armor.hessian"]
        return made

    def to_bytes(self, name: str) -> bytes:
        """Writes a safetensors file; `name` is the weight's without .weight."""
        return _text(library().armor_accumulator_serialize, self, _name(name))

    def add(self, tokens: ArrayLike) -> None:
        """Adds tokens, (n, k), read in place; those with an entry that is not finite are refused as a whole."""
        kept, matrix = _matrix("tokens", tokens)
        _check(library().armor_accumulator_add(self, matrix))
        del kept

    def merge(self, other: Accumulator) -> None:
        """Adds what another has summed up."""
        _check(library().armor_accumulator_merge(self, other))

    @property
    def tokens(self) -> int:
        """How many tokens were added."""
        tokens = ctypes.c_uint64()
        _check(library().armor_accumulator_tokens(self, ctypes.byref(tokens)))
        return tokens.value

    def hessian(self) -> np.ndarray:
        """H, (k, k) of f32, or its diagonal, (k,); more tokens may follow."""
        array = np.empty((self.inputs,) * (2 if self.kind == "full" else 1), np.float32)
        _check(library().armor_accumulator_copy(self, array.ctypes.data, array.size, None))
        return array


class Job(_Handle):
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
        out, text = _HANDLE(), json.dumps(settings, default=os.fspath).encode()
        _check(library().armor_job_create(text, len(text), ctypes.byref(out)))
        super().__init__(out, library().armor_job_free)
        count = _SIZE()
        _check(library().armor_job_layer_count(self, ctypes.byref(count)))
        name = library().armor_job_layer_name
        self.layers = [_text(name, self, index).rstrip(b"\0").decode() for index in range(count.value)]

    def _layer(self, index: int) -> int:
        """Refuses what is no layer; ctypes would turn a negative number into a huge one."""
        if not 0 <= index < len(self.layers):
            raise IndexError(f"index: is {index}, but the job has layers 0 to {len(self.layers) - 1}")
        return index

    def is_done(self, index: int) -> bool:
        """Whether a layer's result lies in the output folder, whichever process made it."""
        done = _U32()
        _check(library().armor_job_layer_done(self, self._layer(index), ctypes.byref(done)))
        return bool(done.value)

    def run_layer(self, index: int, progress: ProgressFunction | None = None) -> None:
        """Factorises a layer and stores its result; one that is done is left as it is.

        Where `progress` returns False the layer is not kept, and an ArmorError says so.
        """
        index = self._layer(index)
        _run(lambda watch: _check(library().armor_job_run_layer(self, index, watch, None)), progress)

    def finish(self) -> None:
        """Writes the checkpoint and the reports, once every layer is done; waits where another process does so.

        A job that another process has finished in another format or dtype is an ArmorError.
        """
        _check(library().armor_job_finish(self))

    def plan(self) -> dict[str, Any]:
        """What the job does with every file and tensor: layers, tensors that are copied and why, warnings."""
        return json.loads(_text(library().armor_job_plan, self).rstrip(b"\0"))

    def report(self) -> dict[str, Any]:
        """The contents of report.json, once finished."""
        return json.loads(_text(library().armor_job_report, self).rstrip(b"\0"))
