"""Models of several families go through calibration and compression and back, and give the logits of what is stored."""

import json
import re
import subprocess
import sys

import armor_core
import numpy as np
import pytest
from safetensors import safe_open
from test_job import finish
from tiny_models import TEXT, collect, load, pieces, save, torch, transformers, weights

pytestmark = pytest.mark.field

FAMILIES = ["llama", "phi3", "gpt2", "opt", "bloom", "gpt_neox", "qwen2_moe", "mixtral", "gpt_oss", "llama4", "llava"]


def compress(folder, hessians, out, **more):
    """Compresses a model; gives the job, finished."""
    settings = {"checkpoint": str(folder), "hessians": str(hessians), "out": str(out), "block": 4, "iterations": 6}
    return finish({**settings, **more})


def factors_of(out):
    """What the files with factors hold: the tensors, and the metadata."""
    tensors, words = {}, {}
    for path in out.glob("armor-*.safetensors"):
        with safe_open(path, "np") as file:
            tensors |= {key: file.get_tensor(key) for key in list(file.keys())}
            words |= file.metadata()
    return tensors, words


def product(tensors, words, stem):
    """A · S · B of a layer in f64, as the checkpoint stored the weight."""
    rows, cols = tensors[f"{stem}.armor.core.shape"]
    bits = np.unpackbits(tensors[f"{stem}.armor.core.bitmask"], axis=1, count=cols, bitorder="little").astype(bool)
    core = np.zeros((rows, cols))
    core[bits] = tensors[f"{stem}.armor.core.compressed"].ravel()

    def dense(part, size):
        matrix = np.zeros((size, size))
        for index, block in enumerate(tensors[f"{stem}.armor.{part}"].astype(np.float64)):
            start, width = index * len(block), min(len(block), size - index * len(block))
            matrix[start : start + width, start : start + width] = block[:width, :width]
        return matrix

    weight = dense("left", rows) @ core @ dense("right", cols)
    return weight.T if words.get(f"{stem}.armor.transposed") == "true" else weight


def reconstruction(folder, out):
    """The tensors of a model, those that were compressed in f64."""
    tensors, words = factors_of(out)
    stems = {key.removesuffix(".armor.left") for key in tensors if key.endswith(".armor.left")}
    found = {}
    for name, weight in weights(folder).items():
        stem = name.removesuffix(".weight")
        if stem in stems:
            found[name] = product(tensors, words, stem)
        elif f"{stem}.0" in stems:
            found[name] = np.stack([product(tensors, words, f"{stem}.{index}") for index in range(len(weight))])
    return found


def logits(model):
    """The logits of the first tokens of the text."""
    with torch.no_grad():
        return model(input_ids=torch.tensor(pieces(48, 48)), use_cache=False).logits.double().numpy()


def with_weights(folder, copy, changed):
    """A copy of a model with other weights, which it loads in f64."""
    from safetensors.numpy import save_file

    copy.mkdir()
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (copy / path.name).write_bytes(path.read_bytes())
    tensors = {
        name: np.ascontiguousarray(changed.get(name, tensor).astype(np.float64))
        for name, tensor in weights(folder).items()
    }
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    model = load(copy).double()
    # The faster ways to multiply by experts know no f64.
    model.set_experts_implementation("eager")
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_comes_back_with_the_logits_of_what_is_stored(family, tmp_path):
    folder = save(tmp_path / "model", family)
    collect(folder, tmp_path / "h.safetensors", "--tokens", len(TEXT), "--sequence", 40)
    shared = {"include": sorted(name for name in compressible(tmp_path / "h.safetensors", weights(folder)))}
    job = compress(folder, tmp_path / "h.safetensors", tmp_path / "factors", **shared)
    compress(folder, tmp_path / "h.safetensors", tmp_path / "dense", format="reconstructed", **shared)
    assert len(job.layers) >= 8
    changed = reconstruction(folder, tmp_path / "factors")
    assert sorted(changed) == sorted({layer["tensor"] for layer in job.plan()["layers"]})
    wanted = logits(with_weights(folder, tmp_path / "copy", changed))
    found = logits(load(tmp_path / "dense"))
    before = logits(load(folder))
    scale = np.linalg.norm(wanted)
    assert np.linalg.norm(found - wanted) < 1e-4 * scale
    assert np.linalg.norm(before - wanted) > 1e-2 * scale
    with pytest.raises(OSError, match="no file named"):
        load(tmp_path / "factors")


def compressible(hessians, tensors):
    """The weights that have a Hessian, but for those whose inputs are no multiple of four."""
    with safe_open(hessians, "np") as file:
        stems = {
            key.rsplit(".", 1)[0]: file.get_slice(key).get_shape()[-1] for key in list(file.keys()) if "hessian" in key
        }
    return [name for name in tensors if stems.get(name.removesuffix(".weight"), 1) % 4 == 0]


@pytest.mark.parametrize("form", ["factors", "dense-core", "sparse-24-bitmask"])
def test_a_process_that_does_not_know_the_format_cannot_load_the_folder(form, tmp_path):
    folder = save(tmp_path / "model", "llama")
    collect(folder, tmp_path / "h.safetensors", "--tokens", 80, "--sequence", 40)
    compress(folder, tmp_path / "h.safetensors", tmp_path / "out", format=form, include=["*_proj.weight"])
    program = "import sys, transformers; transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])"
    ran = subprocess.run([sys.executable, "-c", program, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert re.search(r"OSError: .*no file named", ran.stderr), ran.stderr
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "armor"
    assert config["quantization_config"]["format"] == form


def test_a_model_of_16_bits_stays_one(tmp_path):
    folder = save(tmp_path / "model", "llama")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    collect(folder, tmp_path / "h.safetensors", "--tokens", 80, "--sequence", 40)
    compress(folder, tmp_path / "h.safetensors", tmp_path / "out", format="reconstructed", include=["*_proj.weight"])
    found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert {parameter.dtype for parameter in found.parameters()} == {torch.bfloat16}


def test_a_transposed_square_weight_without_a_record_is_refused(tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = save(tmp_path / "model", "gpt2")
    collect(folder, tmp_path / "h.safetensors", "--tokens", 80, "--sequence", 40)
    unknown = {key: value for key, value in load_file(tmp_path / "h.safetensors").items() if "hessian" in key}
    save_file(unknown, tmp_path / "unknown.safetensors")
    with pytest.raises(armor_core.ArmorError, match='name the transposed weights in the setting "transposed"'):
        compress(folder, tmp_path / "unknown.safetensors", tmp_path / "out", format="reconstructed")
