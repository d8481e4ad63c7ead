#!/usr/bin/env python3
"""Factorises the layer of a safetensors file from Python: ctypes and numpy, no compiler.

    LD_LIBRARY_PATH=<prefix>/lib python3 factorize.py FILE.safetensors

The class `Armor` stands by itself, to be pasted where it is needed.
"""

import ctypes
import json
import sys

import numpy as np

SIZE_P = ctypes.POINTER(ctypes.c_size_t)


class Matrix(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("rows", ctypes.c_size_t),
        ("cols", ctypes.c_size_t),
        ("row_stride", ctypes.c_size_t),
        ("dtype", ctypes.c_uint32),
    ]


class Hessian(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("len", ctypes.c_size_t),
        ("row_stride", ctypes.c_size_t),
        ("kind", ctypes.c_uint32),
        ("dtype", ctypes.c_uint32),
    ]


class Sizes(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "struct_size rows cols left_block left_blocks right_block right_blocks pattern_n pattern_m "
            "left right core_values core_bitmask dense history"
        ).split()
    ]


class Report(ctypes.Structure):
    _fields_ = (
        [(name, ctypes.c_size_t) for name in "struct_size iterations stored_bytes_f32 stored_bytes_f16".split()]
        + [(name, ctypes.c_double) for name in "loss nowag_p_loss overhead seconds".split()]
        + [(name, ctypes.c_uint32) for name in "stop_reason reserved".split()]
    )


class Progress(ctypes.Structure):
    _fields_ = [
        ("iteration", ctypes.c_size_t),
        ("iterations", ctypes.c_size_t),
        ("loss", ctypes.c_double),
        ("best_loss", ctypes.c_double),
        ("seconds", ctypes.c_double),
        ("phase", ctypes.c_uint32),
    ]


PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Progress), ctypes.c_void_p)


class ArmorError(Exception):
    """A call that failed; the text says which argument, what was wrong with it, and where."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Armor:
    """A factorised layer, A · S · B, with its arrays as numpy's."""

    ABI = 1
    DTYPES = {"float32": 1, "float64": 2, "float16": 3, "bfloat16": 4}
    DIAGONAL, FULL, IDENTITY = 1, 2, 3
    SETTERS = {
        "method": ctypes.c_uint32,
        "left_block": ctypes.c_size_t,
        "right_block": ctypes.c_size_t,
        "iterations": ctypes.c_size_t,
        "time_budget": ctypes.c_double,
        "tolerance": ctypes.c_double,
        "patience": ctypes.c_size_t,
        "temperature": ctypes.c_double,
        "max_extrapolation": ctypes.c_double,
        "learning_rate": ctypes.c_double,
        "seed": ctypes.c_uint64,
        "threads": ctypes.c_size_t,
    }
    _library = None

    @classmethod
    def library(cls, path="libarmor.so.0.1"):
        """Loads the library once, and tells ctypes the types of its calls."""
        if cls._library is None:
            library = ctypes.CDLL(path)
            handle, copied = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, SIZE_P]
            arguments = {
                "armor_options_create": [ctypes.c_uint32, ctypes.POINTER(handle)],
                "armor_options_free": [handle],
                "armor_options_set_pattern": [handle, ctypes.c_size_t, ctypes.c_size_t],
                "armor_factorize": [
                    ctypes.POINTER(Matrix), ctypes.POINTER(Hessian), handle, PROGRESS, handle, ctypes.POINTER(handle)
                ],
                "armor_factorization_free": [handle],
                "armor_factorization_get_sizes": [handle, ctypes.POINTER(Sizes)],
                "armor_factorization_get_report": [handle, ctypes.POINTER(Report)],
                "armor_factorization_apply": [handle, handle, ctypes.c_size_t, handle, ctypes.c_size_t, SIZE_P],
                "armor_factorization_serialize": [handle, ctypes.c_char_p, handle, ctypes.c_size_t, SIZE_P],
                "armor_factorization_deserialize": [
                    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.POINTER(handle)
                ],
            }
            for option, kind in cls.SETTERS.items():
                arguments[f"armor_options_set_{option}"] = [handle, kind]
            for part in "left right core_values core_bitmask core_dense history".split():
                arguments[f"armor_factorization_copy_{part}"] = copied
            arguments["armor_factorization_reconstruct"] = copied
            for name, types in arguments.items():
                getattr(library, name).argtypes = types
                getattr(library, name).restype = ctypes.c_uint32
            library.armor_last_error_message.restype = ctypes.c_char_p
            library.armor_stop_reason_name.restype = ctypes.c_char_p
            library.armor_stop_reason_name.argtypes = [ctypes.c_uint32]
            library.armor_abi_version.restype = ctypes.c_uint32
            if library.armor_abi_version() < cls.ABI:
                raise ImportError(f"{path} has ABI {library.armor_abi_version()}, needs {cls.ABI}")
            cls._library = library
        return cls._library

    @classmethod
    def _check(cls, status):
        if status != 0:
            raise ArmorError(status, cls._library.armor_last_error_message().decode())

    def __init__(self, handle):
        self._handle = handle

    def __del__(self):
        self._library.armor_factorization_free(self._handle)

    @classmethod
    def factorize(cls, weight, hessian=None, preset="exact", pattern=(2, 4), progress=None, **options):
        """Factorises a weight (m, k) under a Hessian (k, k), its diagonal (k,), or none; options are those of armor.h.

        `progress` gets a Progress after every iteration; what is false but None cancels the run, and so does an
        exception, which is then raised here.
        """
        library = cls.library()
        weight, dtype = cls._readable("weight", weight, [2])
        rows, cols = weight.shape
        stride = weight.strides[0] // weight.itemsize if rows > 1 else cols
        if stride < cols or weight.strides[0] % weight.itemsize or (cols > 1 and weight.strides[1] != weight.itemsize):
            weight, stride = np.ascontiguousarray(weight), cols
        matrix = Matrix(weight.ctypes.data, rows, cols, stride, dtype)
        if hessian is None:
            view = Hessian(None, cols, 0, cls.IDENTITY, 0)
        else:
            hessian, dtype = cls._readable("hessian", np.ascontiguousarray(hessian), [1, 2])
            if hessian.ndim == 2 and hessian.shape[0] != hessian.shape[1]:
                raise ValueError(f"hessian: {hessian.shape[0]} × {hessian.shape[1]} is not square")
            kind = cls.FULL if hessian.ndim == 2 else cls.DIAGONAL
            view = Hessian(hessian.ctypes.data, hessian.shape[0], hessian.shape[0], kind, dtype)
        raised = []

        def told(state, _):
            # ctypes would print what is raised and go on with any result.
            try:
                answer = progress(state.contents)
            except BaseException as error:
                raised.append(error)
                return 1
            return int(answer is not None and not answer)

        made, out = ctypes.c_void_p(), ctypes.c_void_p()
        cls._check(library.armor_options_create({"exact": 1, "paper": 2}[preset], ctypes.byref(made)))
        try:
            cls._check(library.armor_options_set_pattern(made, *pattern))
            for option, value in options.items():
                if option not in cls.SETTERS:
                    raise TypeError(f"no option is called {option}")
                cls._check(getattr(library, f"armor_options_set_{option}")(made, value))
            watch = PROGRESS(told) if progress else PROGRESS()
            cls._check(library.armor_factorize(matrix, view, made, watch, None, ctypes.byref(out)))
        finally:
            library.armor_options_free(made)
        result = cls(out)
        if raised:
            raise raised[0]
        return result

    @classmethod
    def _readable(cls, argument, array, axes):
        """The array as the library can read it, copied only where it cannot, and its dtype's number."""
        array = np.asarray(array)
        if array.ndim not in axes:
            raise ValueError(f"{argument}: has {array.ndim} axes, expected {' or '.join(map(str, axes))}")
        if array.dtype.name not in cls.DTYPES:
            raise TypeError(f"{argument}: is of {array.dtype.name}, expected one of {', '.join(cls.DTYPES)}")
        native = array.dtype.newbyteorder("=")
        return np.require(array, native, "A"), cls.DTYPES[array.dtype.name]

    @staticmethod
    def _name(name):
        """A name for C, which would end it at a NUL of its own."""
        if "\0" in name:
            raise ValueError(f"name: {name!r} holds a NUL")
        return name.encode()

    @classmethod
    def deserialize(cls, file, name):
        """Reads the factorisation of `name` from the bytes of a safetensors file."""
        out = ctypes.c_void_p()
        cls.library()
        file = bytes(file)
        call = cls._library.armor_factorization_deserialize
        cls._check(call(file, len(file), cls._name(name), ctypes.byref(out)))
        return cls(out)

    def serialize(self, name):
        """Writes a safetensors file; `name` is the weight's without .weight."""
        needed = ctypes.c_size_t()
        call = self._library.armor_factorization_serialize
        name = self._name(name)
        status = call(self._handle, name, None, 0, needed)
        if status != 11:
            self._check(status)
        room = ctypes.create_string_buffer(needed.value)
        self._check(call(self._handle, name, room, needed.value, None))
        return room.raw

    @property
    def sizes(self):
        sizes = Sizes(ctypes.sizeof(Sizes))
        self._check(self._library.armor_factorization_get_sizes(self._handle, sizes))
        return sizes

    @property
    def report(self):
        report = Report(ctypes.sizeof(Report))
        self._check(self._library.armor_factorization_get_report(self._handle, report))
        return report

    @property
    def stop_reason(self):
        return self._library.armor_stop_reason_name(self.report.stop_reason).decode()

    def _copy(self, call, shape, dtype=np.float32):
        array = np.empty(shape, dtype)
        self._check(getattr(self._library, call)(self._handle, array.ctypes.data, array.size, None))
        return array

    def left(self):
        """A's blocks, (blocks, p, p); a smaller last one is padded with zeros."""
        s = self.sizes
        return self._copy("armor_factorization_copy_left", (s.left_blocks, s.left_block, s.left_block))

    def right(self):
        """B's blocks, (blocks, q, q), alike."""
        s = self.sizes
        return self._copy("armor_factorization_copy_right", (s.right_blocks, s.right_block, s.right_block))

    def core_values(self):
        """Kept values, (m, kN/M), by row in ascending column order."""
        s = self.sizes
        return self._copy("armor_factorization_copy_core_values", (s.rows, s.core_values // s.rows))

    def core_mask(self):
        """Which entries the core keeps, (m, k)."""
        s = self.sizes
        bits = self._copy("armor_factorization_copy_core_bitmask", (s.rows, s.core_bitmask // s.rows), np.uint8)
        return np.unpackbits(bits, axis=1, count=s.cols, bitorder="little").astype(bool)

    def core(self):
        """S, (m, k), zeros included."""
        s = self.sizes
        return self._copy("armor_factorization_copy_core_dense", (s.rows, s.cols))

    def history(self):
        """The loss of the initial mask, then after every iteration."""
        return self._copy("armor_factorization_copy_history", self.sizes.history, np.float64)

    def reconstruct(self):
        """A · S · B, (m, k)."""
        s = self.sizes
        return self._copy("armor_factorization_reconstruct", (s.rows, s.cols))

    def apply(self, x):
        """A · (S · (B · x)) for one input."""
        x = np.ascontiguousarray(x, np.float32)
        y = np.empty(self.sizes.rows, np.float32)
        call = self._library.armor_factorization_apply
        self._check(call(self._handle, x.ctypes.data, x.size, y.ctypes.data, y.size, None))
        return y


def read_layer(path):
    """The file's only *.weight with its *.hessian: (name, weight, hessian)."""
    with open(path, "rb") as file:
        content = file.read()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    name = next(key for key in header if key.endswith(".weight"))

    def tensor(key):
        entry = header[key]
        begin, end = (start + offset for offset in entry["data_offsets"])
        dtype = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[entry["dtype"]]
        return np.frombuffer(content[begin:end], dtype).reshape(entry["shape"])

    return name, tensor(name), tensor(name.removesuffix(".weight") + ".hessian")


def block_diagonal(blocks, size):
    """The dense matrix of padded blocks."""
    p = blocks.shape[1]
    dense = np.zeros((len(blocks) * p,) * 2)
    for index, block in enumerate(blocks):
        dense[index * p : (index + 1) * p, index * p : (index + 1) * p] = block
    return dense[:size, :size]


def relative_loss(weight, product, diagonal):
    """The paper's proxy loss relative to that of zeros, from its definition."""
    columns = np.linalg.norm(weight, axis=0)
    rows = np.linalg.norm(weight / columns, axis=1)
    scale = 1 / np.outer(rows, columns)
    return np.sum(diagonal * ((weight - product) * scale) ** 2) / np.sum(diagonal * (weight * scale) ** 2)


def check(layer, weight, hessian):
    """Compares everything with numpy's own arithmetic."""
    s, product = layer.sizes, layer.reconstruct()
    core = layer.core()
    dense = block_diagonal(layer.left(), s.rows) @ core.astype(float) @ block_diagonal(layer.right(), s.cols)
    scale = np.abs(dense).max()
    assert np.abs(product - dense).max() <= 1e-6 * scale, "reconstruct is A · S · B"
    mask = layer.core_mask()
    assert (mask.reshape(s.rows, -1, s.pattern_m).sum(axis=2) == s.pattern_n).all(), "the mask is N:M"
    assert (core[mask] == layer.core_values().ravel()).all() and not core[~mask].any(), "values and mask are the core"
    x = np.cos(np.arange(s.cols))
    assert np.abs(layer.apply(x) - dense @ x).max() <= 1e-5 * scale * s.cols, "apply is a product"
    loss = relative_loss(weight.astype(float), dense, np.diag(hessian).astype(float))
    assert abs(loss - layer.report.loss) <= 1e-6 * loss, f"the loss is {loss} by its definition"
    again = Armor.deserialize(layer.serialize("layer"), "layer")
    assert (again.reconstruct() == product).all() and again.report.loss == layer.report.loss, "bytes keep it all"
    try:
        Armor.factorize(np.where(weight == weight[3, 5], np.nan, weight), hessian)
    except ArmorError as error:
        assert error.status == 8 and str(error).startswith("weight: entry ["), error
    else:
        raise AssertionError("a weight with NaN is refused")


def print_table(name, layer):
    s, r = layer.sizes, layer.report
    lower = 100 * (1 - r.loss / r.nowag_p_loss) if r.nowag_p_loss > 0 else 0
    lines = [
        ("layer", f"{name} ({s.rows} × {s.cols})"),
        (
            "factors",
            f"{s.pattern_n}:{s.pattern_m} core, blocks of {s.left_block} and {s.right_block}, preset exact",
        ),
        ("loss of NoWag-P", f"{r.nowag_p_loss:.6f}"),
        ("loss", f"{r.loss:.6f}  ({lower:.1f} % lower)"),
        ("wrapper overhead", f"{100 * r.overhead:.2f} % of the weight's entries"),
    ]
    for dtype, size, stored in [("f32", 4, r.stored_bytes_f32), ("f16", 2, r.stored_bytes_f16)]:
        dense = s.rows * s.cols * size
        lines.append((f"size in {dtype}", f"{stored} bytes, {100 * stored / dense:.1f} % of dense ({dense})"))
    lines.append(("iterations", f"{r.iterations} (stopped: {layer.stop_reason})"))
    lines.append(("time", f"{r.seconds:.2f} s, {1e3 * r.seconds / r.iterations:.2f} ms an iteration"))
    for label, value in lines:
        print(f"{label:<22}{value}")


def main():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FILE.safetensors")
    name, weight, hessian = read_layer(sys.argv[1])
    layer = Armor.factorize(weight, hessian)
    print_table(name, layer)
    check(layer, weight, hessian)


if __name__ == "__main__":
    main()
