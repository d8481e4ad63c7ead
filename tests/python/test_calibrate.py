"""Hessians are those of what went into the layers."""

import subprocess
import sys

import calibrate
import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import load_file

SCRIPT = ROOT / "examples/python/calibrate.py"


def run(*arguments):
    """Runs the script: its exit status, what it printed, and its errors."""
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def activations(tmp_path):
    """Inputs of two modules: one file of (tokens, k); two files, one with a batch dimension and in f16."""
    generator = np.random.default_rng(1)
    folder = tmp_path / "activations"
    (folder / "layers.0.up").mkdir(parents=True)
    one = generator.standard_normal((9000, 12)).astype(np.float32)
    two = [generator.standard_normal((2, 30, 8)).astype(np.float16), generator.standard_normal((50, 8))]
    np.save(folder / "layers.0.down.npy", one)
    for index, array in enumerate(two):
        np.save(folder / "layers.0.up" / f"{index}.npy", array)
    return folder, {"layers.0.down": one, "layers.0.up": np.concatenate([two[0].reshape(-1, 8), two[1]])}


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_stored_inputs_give_their_mean_outer_product(activations, tmp_path, kind, passes):
    folder, inputs = activations
    out = tmp_path / ("h.safetensors" if passes == 1 else "folder")
    status, _, errors = run("--activations", folder, "--out", out, "--kind", kind, "--passes", passes)
    assert status == 0, errors
    files = [out] if passes == 1 else sorted(out.iterdir())
    assert len(files) == passes
    tensors = {key: value for file in files for key, value in load_file(file).items()}
    assert sorted(tensors) == [f"{name}.{calibrate.SUFFIXES[kind]}" for name in sorted(inputs)]
    for name, x in inputs.items():
        wanted = x.astype(float).T @ x.astype(float) / len(x)
        got = tensors[f"{name}.{calibrate.SUFFIXES[kind]}"]
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted if kind == "full" else np.diag(wanted), rtol=1e-5, atol=1e-6)


def test_what_is_not_finite_is_named_and_nothing_written(activations, tmp_path):
    folder, inputs = activations
    inputs["layers.0.down"][8500, 3] = np.nan
    np.save(folder / "layers.0.down.npy", inputs["layers.0.down"])
    status, _, errors = run("--activations", folder, "--out", tmp_path / "h.safetensors")
    assert status == 1
    assert "layers.0.down" in errors
    assert "from token 8192 on: " in errors
    assert "[308, 3]" in errors
    assert not list(tmp_path.glob("h.*"))


def test_inputs_of_other_widths_are_named(activations, tmp_path):
    folder, _ = activations
    np.save(folder / "layers.0.up" / "2.npy", np.ones((5, 7)))
    status, _, errors = run("--activations", folder, "--out", tmp_path / "h.safetensors")
    assert status == 1
    assert "layers.0.up" in errors
    assert "2.npy" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "."], "go together"),
        (["--activations", "nowhere"], "nowhere is no folder"),
        (["--activations", ".", "--include", "none"], "no NAME.npy"),
        (["--activations", ".", "--tokens", "0"], "--tokens"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments, message, tmp_path):
    status, _, errors = run(*arguments, "--out", tmp_path / "h.safetensors")
    assert status != 0
    assert message in errors
    assert "Traceback" not in errors


def test_names_that_differ_in_one_component_are_aliases():
    assert calibrate.component("layers.0.attn.k_proj", "layers.0.attn.q_proj") == ("k_proj", "q_proj")
    assert calibrate.component("layers.1.attn.k_proj", "layers.0.attn.q_proj") is None
    assert calibrate.component("layers.0.gate", "layers.0.attn.q_proj") is None
