"""Hessians are those of what went into the layers."""

import armor_core
import numpy as np
import pytest
from armor_core.calibration.choice import matches, spelt_out, summary
from armor_core.calibration.output import SUFFIXES, Stored, component, hessians, write
from conftest import armor
from safetensors.numpy import load_file


def run(*arguments):
    """Runs the command: its exit status, what it printed, and its errors."""
    return armor("calibrate", *arguments)


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
    assert sorted(tensors) == sorted(f"{name}.{part}" for name in inputs for part in (SUFFIXES[kind], "tokens"))
    for name, x in inputs.items():
        wanted = x.astype(float).T @ x.astype(float) / len(x)
        got = tensors[f"{name}.{SUFFIXES[kind]}"]
        assert got.dtype == np.float32
        assert (tensors[f"{name}.tokens"].dtype, tensors[f"{name}.tokens"].tolist()) == (np.int64, [len(x)])
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
        (["--activations", ".", "--batch", "0"], "--batch"),
        (["--activations", ".", "--out", "."], "--out: . is there and is no file"),
        (["--activations", ".", "--out", __file__, "--passes", "2"], "is there and is no folder"),
        (["--activations", ".", "--out", f"{__file__}/h.safetensors"], "test_calibrate.py is no folder"),
        (["--activations", ".", "--out", f"{__file__}/deep/out", "--passes", "2"], "test_calibrate.py is no folder"),
        (["--activations", ".", "--out", "/proc/h.safetensors"], "/proc/h.safetensors cannot be written: "),
        (["--activations", ".", "--out", "h" * 300], "cannot be written: File name too long"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments, message, tmp_path):
    status, _, errors = run("--out", tmp_path / "h.safetensors", *arguments)
    assert status != 0
    assert message in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("option", ["--include", "--exclude"])
def test_a_glob_that_matches_no_stored_input_is_refused(activations, tmp_path, option):
    status, _, errors = run("--activations", activations[0], "--out", tmp_path / "h.safetensors", option, "*", "*.left")
    assert status == 1
    assert f"{option} *.left: matches none of the 2 layers" in errors


def test_the_check_of_the_output_and_a_failed_run_leave_nothing_behind(activations, tmp_path):
    np.save(activations[0] / "layers.0.up" / "2.npy", np.ones((5, 7)))
    before = sorted(tmp_path.rglob("*"))
    for name in ("h.safetensors", "new/deep/h.safetensors"):
        status, _, errors = run("--activations", activations[0], "--out", tmp_path / name)
        assert (status, "2.npy" in errors) == (1, True)
    status, _, errors = run("--activations", activations[0], "--out", tmp_path)
    assert (status, "is no file" in errors) == (2, True)
    with pytest.raises(OSError, match="directory"):
        write(activations[0], {"x": np.ones(1)})
    assert sorted(tmp_path.rglob("*")) == before


def test_names_that_differ_in_one_component_are_aliases():
    assert component("layers.0.attn.k_proj", "layers.0.attn.q_proj") == ("k_proj", "q_proj")
    assert component("layers.1.attn.k_proj", "layers.0.attn.q_proj") is None
    assert component("layers.0.gate", "layers.0.attn.q_proj") is None


def test_a_summary_counts_names_that_differ_in_numbers():
    names = ["layers.0.up", "layers.1.up", "w1", "layers.0.experts.7.w1", "0.up[0]", "0.up[1]", "0.5x", "x.12"]
    assert summary(names) == "layers.*.up (2), w1, layers.*.experts.*.w1, *.up[*] (2), *.5x, x.*"


def accumulators(**inputs):
    """Accumulators of inputs by name."""
    made = {}
    for name, rows in inputs.items():
        made[name] = armor_core.Accumulator(len(rows[0]))
        made[name].add(np.array(rows, np.float32))
    return made


def test_a_weight_of_several_layers_has_the_mean_over_all_their_tokens():
    sums = accumulators(one=[[1, 2]], two=[[3, 4], [5, 6]])
    made = hessians(sums, {"one": "one", "two": "two"}, [Stored("w", ["one", "two"])], "diagonal").tensors
    assert made["w.hessian_diag"].tolist() == pytest.approx([35 / 3, 56 / 3])
    assert made["w.tokens"].tolist() == [3]
    shared = hessians(sums, {"one": "one", "two": "one"}, [Stored("w", ["one", "two"])], "diagonal").tensors
    assert shared["w.tokens"].tolist() == [1]


def test_stacked_experts_without_tokens_have_zeros():
    sums = accumulators(**{"t[1]": [[1, 2]]})
    made = hessians(sums, {}, [Stored("t", ["t"], [0, 1], stacked=True, transposed=True)], "diagonal")
    assert made.tensors["t.hessian_diag"].tolist() == [[0, 0], [1, 4]]
    assert made.tensors["t.tokens"].tolist() == [0, 1]
    assert made.tensors["t.transposed"].tolist() == [1]
    assert (made.idle, made.scarce, len(made)) == (["t[0]"], ["t[1]"], 1)


@pytest.mark.parametrize(("transposed", "written"), [(True, [1]), (False, [0]), (None, None)])
def test_the_orientation_is_written_where_it_is_known(transposed, written):
    made = hessians(accumulators(w=[[1, 2]]), {}, [Stored("w", ["w"], transposed=transposed)], "diagonal").tensors
    assert ("w.transposed" in made) == (written is not None)
    if written is not None:
        assert (made["w.transposed"].dtype, made["w.transposed"].tolist()) == (np.uint8, written)


def test_only_weights_of_one_orientation_share_a_hessian():
    sums = accumulators(q=[[1, 2]])
    owner = {"q": "q", "k": "q", "v": "q"}
    stored = [Stored(name, [name], transposed=name == "v") for name in ("q", "k", "v")]
    made = hessians(sums, owner, stored, "diagonal", share=True)
    assert made.aliases == {"k": "q"}
    assert made.tensors["q.transposed"].tolist() == [0]
    assert made.tensors["v.transposed"].tolist() == [1]


def test_experts_apart_share_and_those_without_tokens_are_left_out():
    sums = accumulators(**{"t[1]": [[1, 2]]})
    stored = [Stored(f"e.{expert}.{part}", ["t"], [expert]) for expert in (0, 1) for part in ("w1", "w3")]
    made = hessians(sums, {}, stored, "diagonal", share=True)
    assert sorted(made.tensors) == ["e.1.w1.hessian_diag", "e.1.w1.tokens"]
    assert (made.aliases, made.idle) == ({"w3": "w1"}, ["e.0.w1", "e.0.w3"])


def test_a_glob_may_have_ranges_and_alternatives():
    assert spelt_out("a.{9..11}.{b,c}") == [f"a.{number}.{word}" for number in (9, 10, 11) for word in "bc"]
    assert spelt_out("a.[0-3].*") == ["a.[0-3].*"]
    assert matches("model.layers.11.x", "model.layers.{0..11}.*") and matches("a", "{a,b}")
    assert not matches("model.layers.12.x", "model.layers.{0..11}.*")
    for glob in ("{3..2}", "{0..10000}"):
        with pytest.raises(ValueError, match="no range of 1 to 10000 numbers"):
            spelt_out(glob)
