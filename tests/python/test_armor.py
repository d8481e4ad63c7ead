"""The module hands numpy's and PyTorch's memory to the library as it is, and errors and Ctrl-C back."""

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import armor_core
import numpy as np
import pytest
from armor_core.abi import FEATURES
from armor_core.arrays import matrix_view
from conftest import ROOT

FAST = armor_core.Options(left_block=8, right_block=8, iterations=10)


@pytest.fixture(scope="module")
def weight():
    return np.random.default_rng(3).standard_normal((24, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def hessian():
    x = np.random.default_rng(4).standard_normal((100, 32))
    return (x.T @ x / 100).astype(np.float32)


def bytes_of(*arguments, options=FAST):
    return armor_core.factorize(*arguments, options).to_bytes("layer")


def layouts(array):
    """The same numbers, otherwise in memory."""
    wide = np.zeros((array.shape[0], array.shape[1] + 5), array.dtype)
    wide[:, 2:-3] = array
    odd = np.frombuffer(b"." + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    return {
        "a view of a wider matrix": wide[:, 2:-3],
        "transposed": np.ascontiguousarray(array.T).T,
        "upside down": np.ascontiguousarray(array[::-1])[::-1],
        "every other column": np.repeat(array, 2, axis=1)[:, ::2],
        "off its alignment": odd,
        "in the other byte order": array.astype(array.dtype.newbyteorder()),
        "read-only": np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
        "a list": array.astype(float).tolist(),
    }


def test_layouts_change_nothing(weight, hessian):
    wanted = bytes_of(weight, hessian)
    for name, layout in layouts(weight).items():
        assert bytes_of(layout, hessian) == wanted, f"weight {name}"
    for name, layout in layouts(hessian).items():
        assert bytes_of(weight, layout) == wanted, f"hessian {name}"


def test_the_objective_reads_the_diagonal(weight, hessian):
    diagonal = np.diag(hessian)
    assert not diagonal.flags.c_contiguous
    assert bytes_of(weight, diagonal) == bytes_of(weight, hessian)
    assert bytes_of(weight, None) == bytes_of(weight, np.ones(32))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_types_are_read_as_their_numbers(weight, hessian, dtype):
    cast = weight.astype(dtype)
    assert bytes_of(cast, hessian) == bytes_of(cast.astype(np.float32), hessian)


@pytest.mark.field
def test_tensors_of_pytorch_are_read(weight, hessian):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(weight).requires_grad_()
    assert bytes_of(tensor, torch.from_numpy(hessian)) == bytes_of(weight, hessian)
    brain = torch.from_numpy(weight).bfloat16()
    assert bytes_of(brain, hessian) == bytes_of(brain.float(), hessian)
    assert bytes_of(brain.T.contiguous().T, hessian) == bytes_of(brain.float(), hessian)


def test_parts_make_the_product(weight, hessian):
    layer = armor_core.factorize(weight, hessian, FAST)
    core, mask = layer.core(), layer.core_mask()
    assert (mask.reshape(24, 8, 4).sum(-1) == 2).all()
    np.testing.assert_array_equal(core[mask].reshape(24, 16), layer.core_values())
    assert not core[~mask].any()
    left, right = np.zeros((24, 24)), np.zeros((32, 32))
    for blocks, dense in ((layer.left(), left), (layer.right(), right)):
        for index, block in enumerate(blocks):
            dense[8 * index : 8 * index + 8, 8 * index : 8 * index + 8] = block
    product = left @ core @ right
    np.testing.assert_allclose(layer.reconstruct(), product, rtol=1e-4, atol=1e-5)
    x = np.arange(32)
    np.testing.assert_allclose(layer.apply(x), product @ x, rtol=1e-4, atol=1e-3)
    assert layer.history().shape == (11,)
    assert 0 < layer.report.loss < layer.report.nowag_p_loss
    assert layer.report.dead_inputs == 0
    assert layer.stop_reason == "iterations"
    again = armor_core.Factorization.from_bytes(layer.to_bytes("a.b"), "a.b")
    assert again.to_bytes("a.b") == layer.to_bytes("a.b")


def output_error(weight, product, hessian):
    """tr(E H Eᵀ) / tr(W H Wᵀ) by its definition."""
    error, weight, hessian = weight - product, weight.astype(float), hessian.astype(float)
    return np.trace(error @ hessian @ error.T) / np.trace(weight @ hessian @ weight.T)


def test_the_full_objective_lowers_the_output_error(weight, hessian):
    full = armor_core.Options(left_block=8, right_block=8, iterations=10, objective="full", shrinkage=0.0)
    errors = []
    for options in (FAST, full):
        layer = armor_core.factorize(weight, hessian, options)
        errors.append(layer.output_error(weight, hessian))
        assert errors[-1] == pytest.approx(output_error(weight, layer.reconstruct().astype(float), hessian), rel=1e-4)
    assert errors[1] < errors[0]
    diagonal = layer.output_error(weight, np.diag(hessian))
    wanted = output_error(weight, layer.reconstruct().astype(float), np.diag(np.diag(hessian)))
    assert diagonal == pytest.approx(wanted, rel=1e-4)


def test_dead_inputs_are_counted(weight, hessian):
    diagonal = np.diag(hessian).copy()
    diagonal[4:9] = 0
    layer = armor_core.factorize(weight, diagonal, FAST)
    assert layer.report.dead_inputs == 5
    assert armor_core.Factorization.from_bytes(layer.to_bytes("a"), "a").report.dead_inputs == 5


def test_threads_and_seeds(weight, hessian):
    one, two = (armor_core.Options(left_block=8, right_block=8, iterations=10, threads=n) for n in (1, 2))
    assert bytes_of(weight, hessian, options=one) == bytes_of(weight, hessian, options=two)
    other = armor_core.Options(left_block=8, right_block=8, iterations=10, seed=1)
    assert bytes_of(weight, hessian, options=other) != bytes_of(weight, hessian)


def test_every_option_reaches_the_library(weight, hessian):
    given = armor_core.Options(
        preset="paper", method="exact", pattern=(1, 4), left_block=8, right_block=16, iterations=5, time_budget=100.0,
        tolerance=0.0, patience=3, temperature=0.5, max_extrapolation=0.5, learning_rate=0.01, seed=9, threads=1,
        objective="full", shrinkage=0.5, row_weighting="nowag", memory_limit=1 << 30,
    )  # fmt: skip
    layer = armor_core.factorize(weight, hessian, given)
    sizes = layer.sizes
    assert (sizes.pattern_n, sizes.left_block, sizes.right_block) == (1, 8, 16)
    assert layer.report.iterations == 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"preset": "best"}, ValueError, "preset: 'best'"),
        ({"method": "best"}, ValueError, "method: 'best'"),
        ({"objective": "best"}, ValueError, "objective: 'best'"),
        ({"iterations": -1}, ValueError, "iterations: -1 is negative"),
        ({"pattern": (2, -4)}, ValueError, "pattern: -4"),
        ({"pattern": (2, 4, 8)}, ValueError, "too many values"),
        ({"iterations": 0}, armor_core.ArmorError, "iterations"),
        ({"shrinkage": 1.5}, armor_core.ArmorError, "shrinkage"),
        ({"right_block": 6}, armor_core.ArmorError, "right_block: 6"),
        ({"pattern": (5, 4)}, armor_core.ArmorError, "pattern"),
    ],
)
def test_wrong_options_are_named(weight, options, error, message):
    with pytest.raises(error, match=message.replace("(", r"\(")):
        armor_core.factorize(weight, options=armor_core.Options(**options))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda w, h: (w[0], h), ValueError, "weight: has 1 dimensions"),
        (lambda w, h: (w.astype(int), h), TypeError, "weight: a dtype of int64"),
        (lambda w, h: (w, h[:, :5]), ValueError, r"hessian: has shape \[32, 5\]"),
        (lambda w, h: (w, h[:5, :5]), armor_core.ArmorError, "hessian"),
        (lambda w, h: (np.where(w == w[3, 5], np.nan, w), h), armor_core.ArmorError, r"weight: entry \[3, 5\] is NaN"),
        (lambda w, h: (w, -h), armor_core.ArmorError, "hessian"),
        (lambda w, h: (w[:, :30], h[:30, :30]), armor_core.ArmorError, "30"),
        (lambda w, h: (w[:0], h), armor_core.ArmorError, "weight"),
    ],
)
def test_wrong_arguments_are_named(weight, hessian, change, error, message):
    with pytest.raises(error, match=message):
        armor_core.factorize(*change(weight, hessian), FAST)


def test_bytes_that_lie_are_refused(weight):
    file = armor_core.factorize(weight, options=FAST).to_bytes("layer")
    for wrong, name in ((file[:-1], "layer"), (file, "other"), (b"", "layer")):
        with pytest.raises(armor_core.ArmorError):
            armor_core.Factorization.from_bytes(wrong, name)


def test_a_name_with_a_nul_is_refused(weight):
    layer = armor_core.factorize(weight, options=FAST)
    with pytest.raises(ValueError, match=r"name: 'a\\x00b' has a NUL"):
        layer.to_bytes("a\0b")


def test_an_error_survives_the_way_between_processes(weight):
    with pytest.raises(armor_core.ArmorError) as caught:
        armor_core.factorize(weight, -np.ones(32), FAST)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.status, str(again)) == (9, str(caught.value))


def test_progress_is_told_and_can_cancel(weight):
    told = []
    armor_core.factorize(weight, None, FAST, told.append)
    assert [progress.iteration for progress in told] == list(range(1, 11))
    assert {progress.phase for progress in told} == {"annealing", "descending"}
    layer = armor_core.factorize(weight, None, FAST, lambda progress: progress.iteration < 4)
    assert layer.stop_reason == "cancelled"
    assert layer.report.iterations == 4


def test_an_exception_in_progress_ends_the_run(weight):
    seen = []

    def fail(progress):
        seen.append(progress.iteration)
        raise LookupError("nobody is watching")

    with pytest.raises(LookupError, match="nobody is watching"):
        armor_core.factorize(weight, None, FAST, fail)
    assert seen == [1]


def test_ctrl_c_ends_a_long_run(weight):
    # Long enough to be interrupted, and not for ever should that fail.
    endless = armor_core.Options(
        left_block=8, right_block=8, iterations=10_000_000, patience=10_000_000, time_budget=60.0
    )
    # A shell starts what runs in the background with SIGINT ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    armor_core.load_library()
    interrupt.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            armor_core.factorize(weight, None, endless)
    finally:
        interrupt.cancel()
        signal.signal(signal.SIGINT, handler)


def test_an_exception_in_progress_leaves_nothing_behind(weight, monkeypatch):
    freed = []

    class Watched(armor_core.Factorization):
        def __init__(self, handle):
            super().__init__(handle)
            weakref.finalize(self, freed.append, True)

    def fail(progress):
        raise LookupError(progress.iteration)

    monkeypatch.setattr("armor_core.factorization.Factorization", Watched)
    with contextlib.suppress(LookupError):
        armor_core.factorize(weight, None, FAST, fail)
    assert freed == [True]


def test_two_interrupts_leave_the_run_its_memory(weight, monkeypatch):
    arrays, started, goes_on = [], threading.Event(), threading.Event()
    library, matrix = armor_core.load_library(), matrix_view

    class Library:
        def __getattr__(self, name):
            return getattr(library, name)

        def armor_factorize(self, *arguments):
            started.set()
            goes_on.wait(60)
            return library.armor_factorize(*arguments)

    def watched(*arguments):
        kept, view = matrix(*arguments)
        arrays.append(weakref.ref(kept))
        return kept, view

    def interrupt():
        started.wait(60)
        for _ in range(2):
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("armor_core.factorization.load_library", Library)
    monkeypatch.setattr("armor_core.factorization.matrix_view", watched)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupts = threading.Thread(target=interrupt)
    interrupts.start()
    try:
        armor_core.factorize(np.asfortranarray(weight), None, FAST)
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    finally:
        interrupts.join()
        signal.signal(signal.SIGINT, handler)
    assert interrupted
    assert arrays[0]() is not None, "the run reads this copy of the weight"
    goes_on.set()
    deadline = time.monotonic() + 60
    while arrays[0]() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert arrays[0]() is None


def test_each_packed_factor_has_a_dtype_of_its_own(weight):
    layer = armor_core.factorize(weight, None, FAST)
    x = np.linspace(-1, 1, 3 * 32, dtype=np.float32).reshape(3, 32)
    exact = armor_core.Packed(layer, "float32")
    mixed = armor_core.Packed(layer, ("float32", "bfloat16", "float16"))
    sizes = exact.sizes
    assert [sizes.left_dtype, sizes.core_dtype, sizes.right_dtype] == [armor_core.DTYPES["float32"]] * 3
    sizes = mixed.sizes
    numbers = [armor_core.DTYPES[name] for name in ("float32", "bfloat16", "float16")]
    assert [sizes.left_dtype, sizes.core_dtype, sizes.right_dtype] == numbers
    assert sizes.left_bytes == exact.sizes.left_bytes
    assert 2 * sizes.right_bytes == exact.sizes.right_bytes
    np.testing.assert_allclose(exact.apply(x), x @ layer.reconstruct().T, atol=1e-4)
    np.testing.assert_allclose(mixed.apply(x), exact.apply(x), atol=0.2)
    for dtype, message in (
        ("float64", "left_dtype: 2 is not a dtype that can be packed"),
        (("float32", "float64", "float32"), "core_dtype: 2 is not a dtype that can be packed"),
    ):
        with pytest.raises(armor_core.ArmorError, match=message):
            armor_core.Packed(layer, dtype)
    for dtype, message in (
        ("bf16", "option dtype: 'bf16' is none of"),
        (("float32", "float32"), "has 2 names, expected one or three"),
    ):
        with pytest.raises(ValueError, match=message):
            armor_core.Packed(layer, dtype)


def load(environment):
    """Loads the library in another process: what it printed, its path if all went well."""
    inherited = {key: value for key, value in os.environ.items() if key != "ARMOR_LIBRARY"}
    done = subprocess.run(
        [sys.executable, "-c", "import armor_core; print(armor_core.load_library()._name, armor_core.version())"],
        env={**inherited, "PYTHONPATH": str(ROOT / "examples/python"), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="names are those of Linux")
def test_the_library_is_found_where_it_may_be(tmp_path):
    built = Path(armor_core.load_library()._name)
    version = armor_core.version()
    named, packaged, target = (tmp_path / name for name in ("named", "packaged", "target/release"))
    for folder in (named, packaged, target):
        folder.mkdir(parents=True)
    shutil.copy(built, named / "libarmor.so.0.1")
    shutil.copy(built, packaged / "libarmor.so")
    shutil.copy(built, target / "libarmor_core.so")
    (packaged / "armor.pc").write_text(f"libdir={packaged}\nName: armor\nDescription: test\nVersion: 0\n")
    nowhere = {"LD_LIBRARY_PATH": "", "PKG_CONFIG_PATH": "", "CARGO_TARGET_DIR": str(tmp_path)}
    for environment, found in (
        ({"ARMOR_LIBRARY": str(built)}, built),
        ({"LD_LIBRARY_PATH": str(named)}, "libarmor.so.0.1"),
        ({"PKG_CONFIG_PATH": str(packaged)}, packaged / "libarmor.so"),
        ({"CARGO_TARGET_DIR": str(tmp_path / "target")}, target / "libarmor_core.so"),
    ):
        assert load({**nowhere, **environment}) == (0, f"{found} {version}\n")


def test_a_missing_library_is_an_error_that_says_where_it_was_looked_for():
    status, printed = load({"ARMOR_LIBRARY": "nowhere.so"})
    assert status == 1
    assert "ImportError: no library of armor-core; set ARMOR_LIBRARY" in printed
    assert "nowhere.so: " in printed


def test_options_are_written_and_read_as_json(weight):
    for options in (
        FAST,
        armor_core.Options(preset="paper", objective="diagonal", row_weighting="uniform", seed=2**64 - 1),
    ):
        read = armor_core.Options.from_json(options.to_json())
        assert read.to_json() == options.to_json()
    assert armor_core.Options.from_json('{"preset": "paper"}').to_json() == armor_core.Options(preset="paper").to_json()
    assert armor_core.Options.from_json('{"block": [4, 8]}').right_block == 8
    read = armor_core.Options.from_json(FAST.to_json())
    assert bytes_of(weight, None, options=read) == bytes_of(weight, None)
    for text, message in (
        ('{"blocks": 8}', "json: blocks: unknown field"),
        ('{"block": 0}', "left_block: 0 is out of"),
    ):
        with pytest.raises(armor_core.ArmorError, match=message):
            armor_core.Options.from_json(text)


def test_a_library_without_jobs_says_so(monkeypatch):
    monkeypatch.setattr("armor_core.job.features", set)
    with pytest.raises(NotImplementedError, match="built without the feature checkpoint"):
        armor_core.Job(checkpoint="x")


def test_features_are_those_of_the_library():
    assert armor_core.features() <= set(FEATURES)
    assert ("checkpoint" in armor_core.features()) == hasattr(armor_core.load_library(), "armor_job_create")
