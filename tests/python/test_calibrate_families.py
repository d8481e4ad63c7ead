"""Layers of several model families, by their names on disk, against the inputs that hooks of the test keep."""

import re

import numpy as np
import pytest
from tiny_models import check, collect, inputs_of, layers, load, pieces, rows, save, torch, weights

pytestmark = pytest.mark.field

# What is calibrated of the names on disk, and what the module is called in memory.
LAYERS = {
    "llama": r"(q|k|v|o|gate|up|down)_proj\.weight$",
    "phi3": r"(qkv|o|gate_up|down)_proj\.weight$",
    "gpt2": r"(c_attn|c_proj|c_fc)\.weight$",
    "opt": r"((q|k|v|out)_proj|fc1|fc2)\.weight$",
    "bloom": r"(query_key_value|dense|dense_h_to_4h|dense_4h_to_h)\.weight$",
    "gpt_neox": r"(query_key_value|dense|dense_h_to_4h|dense_4h_to_h)\.weight$",
    "llava": r"language_model.*(q|k|v|o|gate|up|down)_proj\.weight$",
}


def in_memory(family, stem):
    """A module's name in memory by its name on disk."""
    if family == "llava":
        return "model.language_model." + stem.split("model.")[-1]
    return stem


@pytest.mark.parametrize("kind", ["diagonal", "full"])
@pytest.mark.parametrize("family", LAYERS)
def test_every_layer_has_the_hessian_of_its_inputs(family, kind, tmp_path):
    folder = save(tmp_path / "model", family)
    tensors = collect(folder, tmp_path / "h.safetensors", "--kind", kind, "--tokens", 150, "--sequence", 40)
    stems = [name.removesuffix(".weight") for name in weights(folder) if re.search(LAYERS[family], name)]
    assert sorted({key.rsplit(".", 1)[0] for key in tensors}) == sorted(stems)
    model = load(folder)
    kept = inputs_of(model, [in_memory(family, stem) for stem in stems], pieces(150, 40))
    for stem in stems:
        x = rows(kept[in_memory(family, stem)])
        assert len(x) == 150
        check(tensors, stem, x, transposed=family == "gpt2")


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "bloom", "llava"])
def test_the_head_is_left_out_by_what_it_is_and_said(family, tmp_path, capsys):
    folder = save(tmp_path / "model", family)
    collect(folder, tmp_path / "h.safetensors", "--tokens", 40)
    model = load(folder)
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    assert re.search(rf"left out, the output head: {head}$", capsys.readouterr().err, re.MULTILINE)


def test_what_is_left_out_by_default_has_a_reason():
    linear = torch.nn.Linear
    dense = torch.nn.ModuleDict({"gate": linear(4, 4), "up": linear(4, 4), "score": linear(4, 1)})
    sparse = torch.nn.ModuleDict({"gate": linear(4, 2), "router": torch.nn.ModuleDict({"layer": linear(4, 2)})})
    sparse["experts"] = torch.nn.ModuleList([linear(4, 4), linear(4, 4)])
    model = torch.nn.ModuleDict(
        {"dense": dense, "sparse": sparse, "model": torch.nn.ModuleDict({"embed_out": linear(4, 9)})}
    )
    found, left_out = layers.find_layers(model)
    assert list(found) == ["dense.gate", "dense.up", "sparse.experts.0", "sparse.experts.1"]
    assert left_out == {
        "dense.score": "has one output",
        "sparse.gate": "a router",
        "sparse.router.layer": "a router",
        "model.embed_out": "the output head",
    }
    found, left_out = layers.find_layers(model, ["*gate", "*up"], ["dense.up"], everything=True)
    assert list(found) == ["dense.gate", "sparse.gate"]
    assert set(left_out.values()) == {"by --include and --exclude"}


def test_a_head_that_is_wanted_has_its_name_on_disk(tmp_path):
    folder = save(tmp_path / "model", "gpt_neox")
    tensors = collect(folder, tmp_path / "h.safetensors", "--tokens", 40, "--head-and-routers")
    name = "embed_out" if "embed_out.weight" in weights(folder) else "lm_head"
    head = next(name for name, module in load(folder).named_modules() if name in ("embed_out", "lm_head"))
    check(tensors, name, rows(inputs_of(load(folder), [head], pieces(40, 40))[head]))


def test_a_tied_head_that_is_wanted_has_the_name_of_the_embedding(tmp_path):
    folder = save(tmp_path / "model", "gpt2")
    assert "lm_head.weight" not in weights(folder)
    tensors = collect(folder, tmp_path / "h.safetensors", "--tokens", 40, "--head-and-routers")
    check(tensors, "transformer.wte", rows(inputs_of(load(folder), ["lm_head"], pieces(40, 40))["lm_head"]))


def test_parts_that_no_text_reaches_are_named(tmp_path, capsys):
    folder = save(tmp_path / "model", "llava")
    collect(folder, tmp_path / "h.safetensors", "--tokens", 40)
    errors = capsys.readouterr().err
    assert re.search(r"no Hessian, since no token reached it: .*vision_tower.*q_proj \(2\)", errors)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "gpt_oss"])
def test_a_model_of_16_bits_is_found_on_disk_and_calibrated(family, tmp_path, capsys):
    folder = save(tmp_path / "model", family)
    given = ("--tokens", 60, *(("--exclude", "*experts*") if family in ("mixtral", "gpt_oss") else ()))
    exact = collect(folder, tmp_path / "exact.safetensors", *given)
    rounded = collect(folder, tmp_path / "h.safetensors", *given, "--dtype", "bfloat16")
    assert "not found" not in capsys.readouterr().err
    assert exact.keys() == rounded.keys()
    first = min(key for key in exact if "0" in key and "hessian_diag" in key)
    np.testing.assert_allclose(rounded[first], exact[first], rtol=0.05)


def test_too_few_tokens_for_a_full_hessian_are_said(tmp_path, capsys):
    folder = save(tmp_path / "model", "llama")
    collect(folder, tmp_path / "h.safetensors", "--tokens", 20, "--kind", "full")
    errors = capsys.readouterr().err
    warning = re.search(r"warning: fewer tokens than inputs, so H is singular: (.*)", errors)[1]
    assert warning == "model.layers.0.mlp.down_proj, model.layers.1.mlp.down_proj"
    collect(folder, tmp_path / "h.safetensors", "--tokens", 20)
    assert "fewer tokens" not in capsys.readouterr().err


def test_no_layer_is_an_error_before_the_text_is_run(tmp_path, monkeypatch):
    folder = save(tmp_path / "model", "llama")
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_args, **_kwargs: pytest.fail("the model was run"))
    with pytest.raises(ValueError, match="no layer of the model is left"):
        collect(folder, tmp_path / "h.safetensors", "--exclude", "*")
    assert not list(tmp_path.glob("h.*"))


def test_layers_that_no_token_reaches_are_an_error(tmp_path):
    folder = save(tmp_path / "model", "llava")
    with pytest.raises(ValueError, match=r"no token reached any of the layers: .*vision_tower"):
        collect(folder, tmp_path / "h.safetensors", "--include", "*vision_tower*")
    assert not list(tmp_path.glob("h.*"))
