"""A small random Llama through the whole script, and on to a compressed model. Skipped without PyTorch."""

import numpy as np
import pytest
from armor_core.commands.arguments import UsageError
from test_job import finish
from tiny_models import (
    check,
    collect,
    inputs_of,
    layers,
    load,
    load_module,
    pieces,
    rows,
    save,
    torch,
    transformers,
    watch,
    weights,
)

pytestmark = pytest.mark.field


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model"), "llama")


def test_every_linear_layer_but_the_head_is_covered(folder, tmp_path):
    tensors = collect(folder, tmp_path / "h.safetensors")
    wanted = {key for key in weights(folder) if "_proj." in key}
    assert {key.replace(".hessian_diag", ".weight") for key in tensors if "hessian" in key} == wanted
    assert {key.replace(".tokens", ".weight") for key in tensors if "tokens" in key} == wanted
    assert {key.replace(".transposed", ".weight") for key in tensors if "transposed" in key} == wanted
    assert len(tensors) == 3 * len(wanted)


def test_shared_inputs_are_written_once_with_their_aliases(folder, tmp_path, capsys):
    everything = collect(folder, tmp_path / "all.safetensors")
    shared = collect(folder, tmp_path / "shared.safetensors", "--share")
    assert "--alias k_proj=q_proj,up_proj=gate_proj,v_proj=q_proj" in capsys.readouterr().out
    assert (len(everything), len(shared)) == (42, 24)
    for key, value in everything.items():
        owner = key.replace("k_proj", "q_proj").replace("v_proj", "q_proj").replace("up_proj", "gate_proj")
        np.testing.assert_array_equal(value, shared[owner])


def test_a_calibrated_model_is_compressed_and_loads(folder, tmp_path, capsys):
    collect(folder, tmp_path / "h.safetensors", "--share")
    aliases = capsys.readouterr().out.split("--alias ")[1].split()[0]
    job = finish(
        {
            "checkpoint": str(folder),
            "hessians": str(tmp_path / "h.safetensors"),
            "out": str(tmp_path / "out"),
            "alias": dict(pair.split("=") for pair in aliases.split(",")),
            "include": ["*_proj.weight"],
            "block": 8,
            "iterations": 30,
            "format": "reconstructed",
            "dtype": "f32",
        }
    )
    assert len(job.layers) == 14
    with torch.no_grad():
        before, after = (
            load(path)(input_ids=torch.tensor(pieces(60, 60))).logits for path in (folder, tmp_path / "out")
        )
    error = float((after - before).norm() / before.norm())
    assert 0 < error < 0.5


def test_passes_change_nothing(folder, tmp_path):
    once = collect(folder, tmp_path / "h.safetensors")
    thrice = collect(folder, tmp_path / "folder", "--passes", 3)
    assert once.keys() == thrice.keys()
    for key, value in once.items():
        np.testing.assert_array_equal(value, thrice[key])


@pytest.mark.parametrize("option", ["--include", "--exclude"])
def test_a_glob_that_matches_nothing_is_refused(folder, tmp_path, option):
    with pytest.raises(ValueError, match=f"{option} nothing: matches none of the 15 layers"):
        collect(folder, tmp_path / "h.safetensors", option, "*", "nothing")


def test_the_output_is_checked_before_the_model_is_loaded(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(load_module, "load_dense", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(UsageError, match="is there and is no file"):
        collect(folder, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_kind_is_refused_by_its_type(tmp_path):
    transformers.T5Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"t5 has an encoder and a decoder, and such models are not run here$"):
        load(tmp_path)


def test_a_tensor_written_to_in_between_is_not_shared():
    x = torch.ones(3, 4)
    modules = torch.nn.ModuleDict({"a": torch.nn.Linear(4, 4), "b": torch.nn.Linear(4, 4)})
    with watch.Watcher(layers.find_layers(modules)[0]) as watcher, torch.no_grad():
        modules["a"](x)
        x.mul_(2)
        modules["b"](x)
    assert watcher.owner == {"a": "a", "b": "b"}
    assert watcher.accumulators["b"].hessian()[0] == 4


def test_the_inputs_of_a_layer_that_is_run_twice_are_added(folder):
    model = load(folder)
    name = "model.layers.0.mlp.down_proj"
    with watch.Watcher(layers.find_layers(model, [name])[0], "full") as watcher, torch.no_grad():
        for piece in pieces(90, 60):
            model(input_ids=torch.tensor([piece]))
    x = rows(inputs_of(model, [name], pieces(90, 60))[name])
    tensors = {
        "t.hessian": watcher.accumulators[name].hessian(),
        "t.tokens": np.array([watcher.accumulators[name].tokens]),
    }
    check(tensors, "t", x, transposed=None)
