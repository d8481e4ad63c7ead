"""The class of the Python example as a careless caller meets it; run by tests/c/run."""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples/python"))
sys.dont_write_bytecode = True
from factorize import Armor  # noqa: E402

WEIGHT = np.random.default_rng(1).normal(size=(24, 32)).astype(np.float32)
DIAGONAL = np.arange(1, 33, dtype=np.float32)


def factorize(weight=WEIGHT, hessian=DIAGONAL, **options):
    return Armor.factorize(weight, hessian, left_block=8, right_block=8, iterations=5, **options)


def refused(kind, text, call):
    try:
        call()
    except kind as error:
        assert str(error).startswith(text), error
    else:
        raise AssertionError(f"not refused: {text}")


EXPECTED = factorize().reconstruct()


def layouts_and_byte_orders_are_read_alike():
    padded = np.zeros((24, 40), np.float32)
    padded[:, 4:36] = WEIGHT
    records = np.zeros((24, 32), [("value", "f4"), ("other", "u1")])
    records["value"] = WEIGHT
    unaligned = np.frombuffer(b"\0" + WEIGHT.tobytes(), np.uint8)[1:].view(np.float32).reshape(24, 32)
    for weight in [
        padded[:, 4:36],
        np.asfortranarray(WEIGHT),
        np.repeat(WEIGHT, 2, axis=1)[:, ::2],
        WEIGHT[::-1].copy()[::-1],
        WEIGHT.astype(">f4"),
        WEIGHT.astype(np.float64),
        records["value"],
        unaligned,
        WEIGHT.tolist(),
    ]:
        assert (factorize(weight).reconstruct() == EXPECTED).all()
    for hessian in [DIAGONAL.astype(">f8"), np.repeat(DIAGONAL, 2)[::2], np.diag(DIAGONAL), list(DIAGONAL)]:
        assert (factorize(hessian=hessian).reconstruct() == EXPECTED).all()


def other_arrays_are_refused():
    refused(TypeError, "weight: is of int64, expected one of float32,", lambda: factorize(WEIGHT.astype(np.int64)))
    refused(ValueError, "weight: has 1 axes, expected 2", lambda: factorize(WEIGHT[0]))
    refused(ValueError, "weight: has 3 axes, expected 2", lambda: factorize(WEIGHT[None]))
    refused(ValueError, "hessian: has 3 axes, expected 1 or 2", lambda: factorize(hessian=np.ones((32, 32, 1))))
    refused(ValueError, "hessian: 32 × 31 is not square", lambda: factorize(hessian=np.ones((32, 31))))


def progress_cancels_and_raises():
    seen = []

    def watch(state, answer):
        seen.append(state.iteration)
        return answer

    for answer in [None, True, 1]:
        assert factorize(progress=lambda state: watch(state, answer)).stop_reason == "iterations"
    for answer in [False, np.bool_(False), 0]:
        assert factorize(progress=lambda state: watch(state, answer)).report.iterations == 1
    assert seen == 3 * [1, 2, 3, 4, 5] + 3 * [1]
    refused(ZeroDivisionError, "division by zero", lambda: factorize(progress=lambda state: 1 / 0))


def bytes_and_names():
    layer = factorize()
    file = layer.serialize("layer")
    for held in [file, bytearray(file), memoryview(file)]:
        assert (Armor.deserialize(held, "layer").reconstruct() == EXPECTED).all()
    refused(ValueError, "name: 'layer\\x00s' holds a NUL", lambda: layer.serialize("layer\0s"))
    refused(ValueError, "name: 'layer\\x00s' holds a NUL", lambda: Armor.deserialize(file, "layer\0s"))


for test in [layouts_and_byte_orders_are_read_alike, other_arrays_are_refused, progress_cancels_and_raises, bytes_and_names]:
    test()
    print(f"from_python: {test.__name__}")
