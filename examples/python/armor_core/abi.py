"""The C ABI as armor.h declares it: its numbers, its structs, and the types that its functions take."""

from __future__ import annotations

import ctypes

ABI = 5
FEATURES = {"checkpoint": 1, "lapack": 2}
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

SIZE, U32, BYTES, HANDLE = ctypes.c_size_t, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_void_p
OUT, SIZE_OUT = ctypes.POINTER(HANDLE), ctypes.POINTER(SIZE)


class Matrix(ctypes.Structure):
    """armor_matrix: rows of a matrix in the caller's memory."""

    _fields_ = (("data", HANDLE), ("rows", SIZE), ("cols", SIZE), ("row_stride", SIZE), ("dtype", U32))


class Hessian(ctypes.Structure):
    """armor_hessian: a Hessian in the caller's memory, or its diagonal."""

    _fields_ = (("data", HANDLE), ("len", SIZE), ("row_stride", SIZE), ("kind", U32), ("dtype", U32))


class Sizes(ctypes.Structure):
    """armor_sizes: the shapes of a factorisation, and the elements of its arrays."""

    _fields_ = tuple(
        (name, SIZE)
        for name in (
            "struct_size rows cols left_block left_blocks right_block right_blocks pattern_n pattern_m "
            "left right core_values core_bitmask dense history"
        ).split()
    )


class Report(ctypes.Structure):
    """armor_report: the record of a run."""

    _fields_ = (
        *((name, SIZE) for name in "struct_size iterations stored_bytes_f32 stored_bytes_f16".split()),
        *((name, ctypes.c_double) for name in "loss nowag_p_loss overhead seconds".split()),
        ("stop_reason", U32),
        ("reserved", U32),
        ("ridge", ctypes.c_double),
        ("dead_inputs", ctypes.c_uint64),
    )


class Correction(ctypes.Structure):
    """armor_correction: what a corrected weight can reach."""

    _fields_ = (
        ("struct_size", SIZE),
        *((name, ctypes.c_double) for name in "strength ridge energy drift irreducible".split()),
    )


class PackedSizes(ctypes.Structure):
    """armor_packed_sizes: shape, bytes and dtypes of a packed layer."""

    _fields_ = (
        *((name, SIZE) for name in "struct_size rows cols left_bytes core_bytes right_bytes bytes".split()),
        *((name, U32) for name in "left_dtype core_dtype right_dtype reserved".split()),
    )


class Told(ctypes.Structure):
    """armor_progress."""

    _fields_ = (
        ("iteration", SIZE),
        ("iterations", SIZE),
        ("loss", ctypes.c_double),
        ("best_loss", ctypes.c_double),
        ("seconds", ctypes.c_double),
        ("phase", U32),
    )


WATCH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Told), HANDLE)
COPY = (HANDLE, HANDLE, SIZE, SIZE_OUT)

SETTERS = {
    "method": U32,
    "left_block": SIZE,
    "right_block": SIZE,
    "iterations": SIZE,
    "time_budget": ctypes.c_double,
    "tolerance": ctypes.c_double,
    "patience": SIZE,
    "temperature": ctypes.c_double,
    "max_extrapolation": ctypes.c_double,
    "learning_rate": ctypes.c_double,
    "seed": ctypes.c_uint64,
    "threads": SIZE,
    "objective": U32,
    "shrinkage": ctypes.c_double,
    "row_weighting": U32,
    "memory_limit": SIZE,
}

ARGUMENTS = {
    "armor_options_create": (U32, OUT),
    "armor_options_free": (HANDLE,),
    "armor_options_from_json": (BYTES, SIZE, OUT),
    "armor_options_to_json": (HANDLE, HANDLE, SIZE, SIZE_OUT),
    "armor_options_set_pattern": (HANDLE, SIZE, SIZE),
    **{f"armor_options_set_{option}": (HANDLE, kind) for option, kind in SETTERS.items()},
    "armor_factorize": (ctypes.POINTER(Matrix), ctypes.POINTER(Hessian), HANDLE, WATCH, HANDLE, OUT),
    "armor_factorization_free": (HANDLE,),
    "armor_factorization_get_sizes": (HANDLE, ctypes.POINTER(Sizes)),
    "armor_factorization_get_report": (HANDLE, ctypes.POINTER(Report)),
    **{
        f"armor_factorization_{call}": COPY
        for call in (
            "copy_left copy_right copy_core_values copy_core_bitmask copy_core_dense copy_history reconstruct"
        ).split()
    },
    "armor_factorization_output_error": (
        HANDLE,
        ctypes.POINTER(Matrix),
        ctypes.POINTER(Hessian),
        ctypes.POINTER(ctypes.c_double),
    ),
    "armor_factorization_apply": (HANDLE, HANDLE, SIZE, HANDLE, SIZE, SIZE_OUT),
    "armor_factorization_serialize": (HANDLE, BYTES, HANDLE, SIZE, SIZE_OUT),
    "armor_factorization_deserialize": (BYTES, SIZE, BYTES, OUT),
    "armor_packed_create": (HANDLE, U32, U32, U32, SIZE, OUT),
    "armor_packed_free": (HANDLE,),
    "armor_packed_get_sizes": (HANDLE, ctypes.POINTER(PackedSizes)),
    "armor_packed_unpack": (HANDLE, OUT),
    "armor_packed_scratch_len": (HANDLE, SIZE, SIZE_OUT),
    "armor_packed_apply_batch": (HANDLE, ctypes.POINTER(Matrix), HANDLE, SIZE, SIZE, HANDLE, SIZE),
    "armor_accumulator_create": (SIZE, U32, OUT),
    "armor_accumulator_free": (HANDLE,),
    "armor_accumulator_add": (HANDLE, ctypes.POINTER(Matrix)),
    "armor_accumulator_merge": (HANDLE, HANDLE),
    "armor_accumulator_tokens": (HANDLE, ctypes.POINTER(ctypes.c_uint64)),
    "armor_accumulator_copy": COPY,
    "armor_accumulator_serialize": (HANDLE, BYTES, HANDLE, SIZE, SIZE_OUT),
    "armor_accumulator_deserialize": (BYTES, SIZE, BYTES, OUT),
    "armor_pair_accumulator_create": (SIZE, OUT),
    "armor_pair_accumulator_free": (HANDLE,),
    "armor_pair_accumulator_add": (HANDLE, ctypes.POINTER(Matrix), ctypes.POINTER(Matrix)),
    "armor_pair_accumulator_merge": (HANDLE, HANDLE),
    "armor_pair_accumulator_tokens": (HANDLE, ctypes.POINTER(ctypes.c_uint64)),
    "armor_pair_accumulator_copy_hessian": COPY,
    "armor_pair_accumulator_correct": (
        HANDLE,
        ctypes.POINTER(Matrix),
        ctypes.c_double,
        ctypes.c_double,
        HANDLE,
        SIZE,
        SIZE_OUT,
        ctypes.POINTER(Correction),
    ),
    "armor_pair_accumulator_output_error": (
        HANDLE,
        ctypes.POINTER(Matrix),
        ctypes.POINTER(Matrix),
        ctypes.POINTER(ctypes.c_double),
    ),
    "armor_pair_accumulator_serialize": (HANDLE, BYTES, HANDLE, SIZE, SIZE_OUT),
    "armor_pair_accumulator_deserialize": (BYTES, SIZE, BYTES, OUT),
}

# Only a library with the feature checkpoint has these.
JOB_ARGUMENTS = {
    "armor_job_create": (BYTES, SIZE, OUT),
    "armor_job_layer_count": (HANDLE, SIZE_OUT),
    "armor_job_layer_name": (HANDLE, SIZE, HANDLE, SIZE, SIZE_OUT),
    "armor_job_layer_done": (HANDLE, SIZE, ctypes.POINTER(U32)),
    "armor_job_layer_shape": (HANDLE, SIZE, SIZE_OUT, SIZE_OUT),
    "armor_job_run_layer": (HANDLE, SIZE, WATCH, HANDLE),
    "armor_job_run_layer_on_hessian": (HANDLE, SIZE, ctypes.POINTER(Hessian), ctypes.c_uint64, WATCH, HANDLE),
    "armor_job_run_layer_on_pairs": (HANDLE, SIZE, HANDLE, WATCH, HANDLE),
    "armor_job_layer_weight": (HANDLE, SIZE, HANDLE, SIZE, SIZE_OUT),
    "armor_job_layer_factorization": (HANDLE, SIZE, OUT),
    "armor_job_replace_layer": (HANDLE, SIZE, HANDLE),
    "armor_job_finish": (HANDLE,),
    "armor_job_plan": (HANDLE, HANDLE, SIZE, SIZE_OUT),
    "armor_job_report": (HANDLE, HANDLE, SIZE, SIZE_OUT),
    "armor_job_free": (HANDLE,),
}
