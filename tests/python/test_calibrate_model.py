"""Hooks on a small random Llama collect what its layers are given. Skipped where PyTorch is not installed."""

import calibrate
import numpy as np
import pytest
from safetensors.numpy import load_file
from test_job import finish

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of two layers and a tokenizer of bytes, stored as Hugging Face does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    config = transformers.LlamaConfig(
        vocab_size=256,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    (folder / "text.txt").write_text("Two of every four are kept, and the others are gone. " * 20)
    return folder


def collect(folder, out, *more):
    """Runs the script in this process: the tensors that it wrote."""
    given = ["--model", folder, "--text", folder / "text.txt", "--out", out, "--sequence", 100, *more]
    options = calibrate.arguments([str(argument) for argument in given])
    calibrate.write_all(options, calibrate.from_model(options))
    files = [out] if out.is_file() else sorted(out.iterdir())
    return {key: value for file in files for key, value in load_file(file).items()}


def inputs_of(folder, name, tokens):
    """What a module is given, kept by a hook of the test's own: (tokens, k)."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    options = calibrate.arguments(["--model", str(folder), "--text", str(folder / "text.txt"), "--out", "unused"])
    kept = []
    model.get_submodule(name).register_forward_hook(lambda _module, args, _out: kept.append(args[0].flatten(0, -2)))
    with torch.no_grad():
        for piece in calibrate.batches(options.model, options.text, tokens, 100):
            model(input_ids=piece)
    return torch.cat(kept).double().numpy()


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.v_proj", "model.layers.1.mlp.down_proj"])
def test_hooks_collect_the_inputs(folder, tmp_path, name):
    tensors = collect(folder, tmp_path / "h.safetensors", "--kind", "full", "--tokens", 450)
    x = inputs_of(folder, name, 450)
    assert x.shape[0] == 450
    np.testing.assert_allclose(tensors[f"{name}.hessian"], x.T @ x / 450, rtol=1e-4, atol=1e-6)


def test_every_linear_layer_but_the_head_is_covered(folder, tmp_path):
    tensors = collect(folder, tmp_path / "h.safetensors")
    weights = {key for key in load_file(folder / "model.safetensors") if "_proj." in key}
    assert {key.replace(".hessian_diag", ".weight") for key in tensors} == weights


def test_shared_inputs_are_written_once_with_their_aliases(folder, tmp_path, capsys):
    everything = collect(folder, tmp_path / "all.safetensors")
    shared = collect(folder, tmp_path / "shared.safetensors", "--share")
    assert "--alias k_proj=q_proj,up_proj=gate_proj,v_proj=q_proj" in capsys.readouterr().out
    assert len(everything) == 14
    assert len(shared) == 8
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
            "block": 16,
            "iterations": 30,
            "format": "reconstructed",
            "dtype": "f32",
        }
    )
    assert len(job.layers) == 14
    ids = calibrate.batches(folder, folder / "text.txt", 100, 100)[0]
    models = (transformers.AutoModelForCausalLM.from_pretrained(path) for path in (folder, tmp_path / "out"))
    with torch.no_grad():
        before, after = (model(input_ids=ids).logits for model in models)
    error = float((after - before).norm() / before.norm())
    assert 0 < error < 0.5


def test_passes_change_nothing(folder, tmp_path):
    once = collect(folder, tmp_path / "h.safetensors")
    thrice = collect(folder, tmp_path / "folder", "--passes", 3)
    assert once.keys() == thrice.keys()
    for key, value in once.items():
        np.testing.assert_array_equal(value, thrice[key])


def test_a_glob_that_matches_nothing_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="--include nothing"):
        collect(folder, tmp_path / "h.safetensors", "--include", "nothing")


def test_a_tensor_written_to_in_between_is_not_shared():
    x = torch.ones(3, 4)
    modules = {"a": torch.nn.Linear(4, 4), "b": torch.nn.Linear(4, 4)}
    with calibrate.Watcher(modules) as watcher, torch.no_grad():
        modules["a"](x)
        x.mul_(2)
        modules["b"](x)
    assert watcher.owner == {"a": "a", "b": "b"}
    assert watcher.accumulators["b"].hessian()[0] == 4
