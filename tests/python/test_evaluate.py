"""What a compressed model has lost is measured as a few lines of numpy measure it. Skipped without PyTorch."""

import json
import shutil

import numpy as np
import pytest
from armor_core.commands.main import main
from safetensors.numpy import load_file, save_file
from test_field_models import compress, compressible, reconstruction, with_weights
from tiny_models import BOS, TEXT, collect, load, pieces, save, torch, transformers, weights

pytestmark = pytest.mark.field

TOKENS, SEQUENCE = 100, 40
FORMATS = ["factors", "dense-core", "sparse-24-bitmask", "reconstructed"]


def evaluate(out, model, *more, texts=None):
    """Runs the command in this process: the JSON that it wrote."""
    numbers = out.parent / "numbers.json"
    numbers.unlink(missing_ok=True)
    given = ["evaluate", out, "--against", model, "--json", numbers, "--tokens", TOKENS, "--sequence", SEQUENCE]
    given += ["--text", *(texts or [model / "text.txt"]), *more]
    assert main([str(word) for word in given]) == 0
    return json.loads(numbers.read_text())


def made(folder, family, form="factors", *, bos=False, **more):
    """A tiny model of a family, and what a job makes of it: both folders."""
    model = save(folder / "model", family, bos=bos)
    collect(model, folder / "h.safetensors", "--tokens", len(TEXT), "--sequence", 40)
    include = sorted(compressible(folder / "h.safetensors", weights(model)))
    compress(model, folder / "h.safetensors", folder / form, format=form, include=include, **more)
    return model, folder / form


def log_probabilities(model, windows):
    """The logarithms of the probabilities that a model gives on each window, (tokens, vocabulary) of f64."""
    found = []
    with torch.no_grad():
        for window in windows:
            logits = model(input_ids=torch.tensor([window])).logits[0].double().numpy()
            shifted = logits - logits.max(1, keepdims=True)
            found.append(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))
    return found


def reference(dense, other, windows, first):
    """Perplexities, agreement and KL divergence, token by token."""
    losses, dense_losses, agreed, divergences = [], [], [], []
    pairs = zip(windows, log_probabilities(dense, windows), log_probabilities(other, windows))
    for window, ours, theirs in pairs:
        for place in range(max(first, 1), len(window)):
            p, q = ours[place - 1], theirs[place - 1]
            dense_losses.append(-p[window[place]])
            losses.append(-q[window[place]])
            agreed.append(p.argmax() == q.argmax())
            divergences.append((np.exp(p) * (p - q)).sum())
    return {
        "tokens": len(losses),
        "perplexity": np.exp(np.mean(losses)),
        "dense_perplexity": np.exp(np.mean(dense_losses)),
        "log_ratio": np.mean(losses) - np.mean(dense_losses),
        "agreement": np.mean(agreed),
        "kl": np.mean(divergences),
    }


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "mixtral", "qwen2_moe", "gpt_oss", "llava"])
def test_the_measures_are_those_of_what_is_stored(family, tmp_path):
    model, out = made(tmp_path, family)
    found = evaluate(out, model)
    stored = with_weights(model, tmp_path / "copy", reconstruction(model, out))
    wanted = reference(load(model), stored, pieces(TOKENS, SEQUENCE), 0)
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=1e-4, abs=2e-6), key
        assert found["texts"][0][key] == found[key]
    assert found["tokens"] == TOKENS - 3
    assert found["kl"] > 1e-5
    assert found["agreement"] < 1


def test_each_window_begins_with_the_tokenizers_first_token(tmp_path):
    model, out = made(tmp_path, "llama", bos=True)
    found = evaluate(out, model)
    stored = with_weights(model, tmp_path / "copy", reconstruction(model, out))
    wanted = reference(load(model), stored, pieces(TOKENS, SEQUENCE, [BOS]), 1)
    assert wanted["tokens"] == TOKENS
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=1e-4, abs=2e-6), key


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_a_model_against_itself_loses_nothing(family, tmp_path):
    model = save(tmp_path / "model", family)
    found = evaluate(model, model)
    assert (found["log_ratio"], found["agreement"], found["kl"]) == (0, 1, 0)
    assert found["perplexity"] == found["dense_perplexity"] > 1
    assert (found["layers"], found["bytes"]) == (0, found["dense_bytes"])
    for content in ("[]", '{"layers": 3}', "no JSON"):  # of another program
        (model / "report.json").write_text(content)
        assert evaluate(model, model) == found


def test_every_format_gives_the_same(tmp_path):
    model = save(tmp_path / "model", "gpt_oss")
    collect(model, tmp_path / "h.safetensors", "--tokens", len(TEXT), "--sequence", 40)
    include = sorted(compressible(tmp_path / "h.safetensors", weights(model)))
    found = {}
    for form in FORMATS:
        compress(model, tmp_path / "h.safetensors", tmp_path / form, format=form, include=include)
        found[form] = evaluate(tmp_path / form, model)
    for one in found.values():
        assert one["layers"] == found["factors"]["layers"] > 20
        assert one["perplexity"] == pytest.approx(found["factors"]["perplexity"], rel=1e-5)
        assert one["kl"] == pytest.approx(found["factors"]["kl"], rel=1e-3)
    assert found["reconstructed"]["bits_per_weight"] == 32


def test_bits_and_bytes_are_those_of_the_files(tmp_path):
    model, out = made(tmp_path, "llama")
    found = evaluate(out, model)
    tensors = load_file(out / "armor-model.safetensors")
    size = sum(value.nbytes for key, value in tensors.items() if ".armor." in key and not key.endswith("history"))
    count = sum(value.size for key, value in weights(model).items() if "_proj" in key)
    assert found["bits_per_weight"] == 8 * size / count
    assert found["bytes"] == (out / "armor-model.safetensors").stat().st_size
    assert found["dense_bytes"] == (model / "model.safetensors").stat().st_size
    assert found["layers"] == 14


def test_a_checkpoint_of_several_files_is_read(tmp_path):
    model, out = made(tmp_path, "llama")
    whole = evaluate(out, model, "--round-to", 4)
    transformers.AutoModelForCausalLM.from_pretrained(model).save_pretrained(model, max_shard_size="20KB")
    (model / "model.safetensors").unlink()
    shards = sorted(tensor for path in model.glob("*.safetensors") for tensor in load_file(path))
    assert len(list(model.glob("*.safetensors"))) > 1
    include = [name for name in shards if "_proj" in name]
    compress(model, tmp_path / "h.safetensors", tmp_path / "parts", include=include)
    assert len(list((tmp_path / "parts").glob("armor-*.safetensors"))) > 1
    parts = evaluate(tmp_path / "parts", model, "--round-to", 4)
    for key in ("perplexity", "kl", "bits_per_weight"):
        assert parts[key] == whole[key]
        assert parts["rounded"][0][key] == whole["rounded"][0][key]


def test_texts_are_told_one_by_one_and_together(tmp_path, capsys):
    model, out = made(tmp_path, "llama")
    (tmp_path / "other.txt").write_text("Quite another text, of other words: 1, 2, 3.\n")
    texts = [model / "text.txt", tmp_path / "other.txt"]
    found = evaluate(out, model, "--round-to", 8, 2, texts=texts)
    told = capsys.readouterr()
    assert f"{texts[1]}: has 45 tokens, fewer than --tokens 100" in told.err
    assert "all texts: 140 tokens" in told.out
    alone = [evaluate(out, model, texts=[text]) for text in texts]
    assert [one["kl"] for one in found["texts"]] == [one["kl"] for one in alone]
    counts = [one["tokens"] for one in alone]
    assert found["kl"] == pytest.approx(np.average([one["kl"] for one in alone], weights=counts))
    mean = np.average(np.log([one["perplexity"] for one in alone]), weights=counts)
    assert found["perplexity"] == pytest.approx(np.exp(mean))


def test_models_at_once_change_nothing(tmp_path):
    model, out = made(tmp_path, "gpt2")
    one = evaluate(out, model, "--round-to", 8, 3)
    assert evaluate(out, model, "--round-to", 8, 3, "--at-once", 5) == one
    assert [entry["bits"] for entry in one["rounded"]] == [8, 3]
    assert one["rounded"][0]["kl"] < one["rounded"][1]["kl"]


def bert(folder):
    """A tiny encoder of two layers with a text of several lines; the Hessians of its layers are identities."""
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=260, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=30,
    )  # fmt: skip
    model = transformers.BertModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    model.save_pretrained(folder / "model")
    save(folder / "llama", "llama", bos=True)
    transformers.AutoTokenizer.from_pretrained(folder / "llama").save_pretrained(folder / "model")
    (folder / "model/text.txt").write_text("One line.\n\nAnother line, a longer one than that.\nA third\n")
    diagonals = {
        name.replace(".weight", ".hessian_diag"): np.ones(tensor.shape[1], np.float32)
        for name, tensor in weights(folder / "model").items()
        if "encoder" in name and tensor.ndim == 2
    }
    include = [name.replace(".hessian_diag", ".weight") for name in diagonals]
    save_file(diagonals, folder / "h.safetensors")
    for form in ("factors", "reconstructed"):
        compress(folder / "model", folder / "h.safetensors", folder / form, format=form, include=include)
    return folder / "model", folder / "factors"


def test_encoders_are_compared_by_their_embeddings(tmp_path, capsys):
    model, out = bert(tmp_path)
    found = evaluate(out, model, "--round-to", 8)
    assert "text.txt: 1 of 3 lines are cut to 30 tokens" in capsys.readouterr().err
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    lines = ["One line.", "Another line, a longer one than that.", "A third"]
    cosines = []
    for line in lines:
        tokens = tokenizer(line, truncation=True, max_length=30, return_tensors="pt").input_ids
        with torch.no_grad():
            one, other = (
                transformers.BertModel.from_pretrained(path)(input_ids=tokens).last_hidden_state[0].mean(0).numpy()
                for path in (model, tmp_path / "reconstructed")
            )
        cosines.append(float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)))
    assert found["cosine_mean"] == pytest.approx(np.mean(cosines), abs=1e-5)
    assert found["cosine_worst"] == pytest.approx(min(cosines), abs=1e-5)
    assert found["worst_line"] == lines[int(np.argmin(cosines))]
    assert found["cosine_worst"] < 0.9999
    assert found["rounded"][0]["cosine_mean"] > found["cosine_mean"]
    itself = evaluate(model, model)
    assert itself["cosine_worst"] == pytest.approx(1, abs=1e-12)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return made(tmp_path_factory.mktemp("pair"), "llama")


def refusal(capsys, *words):
    """Runs a command line that is refused: its exit code and the last line of what it says, which is all of it."""
    capsys.readouterr()
    try:
        code = main([str(word) for word in words])
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    return code, told.err.splitlines()[-1]


def test_texts_that_cannot_be_used_are_refused(pair, tmp_path, capsys):
    model, out = pair
    cases = {
        "missing": (None, 2, "missing is no file"),
        "empty": (b"", 1, "empty is shorter than two tokens"),
        "one": (b"a", 1, "one is shorter than two tokens"),
        "latin": (b"caf\xe9 noir", 1, "latin is not UTF-8, from byte 3 on: invalid continuation byte"),
    }
    for name, (content, code, words) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        found = refusal(capsys, "evaluate", out, "--against", model, "--text", tmp_path / name)
        assert found[0] == code
        assert found[1].endswith(words)


def test_a_text_is_read_without_its_byte_order_mark(pair, tmp_path, capsys):
    model, out = pair
    text = tmp_path / "text.jsonl"
    text.write_bytes(b"\xef\xbb\xbf" + (model / "text.txt").read_bytes())
    assert evaluate(out, model, texts=[text])["perplexity"] == evaluate(out, model)["perplexity"]
    assert "text.jsonl: is measured as the text that it is, without a chat template" in capsys.readouterr().err


def test_tokens_that_the_model_does_not_know_are_refused(pair, tmp_path, capsys):
    folder = tmp_path / "few"
    shutil.copytree(pair[0], folder)
    few = load(folder)
    few.resize_token_embeddings(50)
    few.save_pretrained(folder)
    code, told = refusal(capsys, "evaluate", folder, "--against", folder, "--text", folder / "text.txt")
    assert code == 1
    assert told.endswith("and the model knows 50 tokens")


def test_windows_are_cut_to_the_context_of_the_model(pair, capsys):
    model, out = pair
    assert evaluate(out, model, "--sequence", 100)["tokens"] == TOKENS - 2
    assert "--sequence: 100 is cut to 64, the context length of the model" in capsys.readouterr().err


def test_other_tokenizers_and_models_are_refused(pair, tmp_path, capsys):
    model, out = pair
    text = model / "text.txt"
    other = save(tmp_path / "bos", "llama", bos=True)
    code, told = refusal(capsys, "evaluate", out, "--against", other, "--text", text)
    assert (code, told) == (1, f"armor-core evaluate: the tokenizers of {out} and {other} differ: {text}")
    other = save(tmp_path / "gpt2", "gpt2")
    code, told = refusal(capsys, "evaluate", out, "--against", other, "--text", text)
    assert (code, told) == (1, f"armor-core evaluate: {out} is a LlamaForCausalLM, and {other} a GPT2LMHeadModel")
    (other / "tokenizer.json").unlink()
    code, told = refusal(capsys, "evaluate", other, "--against", other, "--text", text)
    assert code == 1
    assert "holds no tokenizer" in told


def test_damaged_folders_are_refused(pair, tmp_path, capsys):
    model, out = pair
    text = model / "text.txt"
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in out.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    weight_file = copy / "armor-model.safetensors"
    tensors = load_file(weight_file)
    lacking = "model.layers.1.mlp.down_proj.armor.core.bitmask"
    save_file({key: value for key, value in tensors.items() if key != lacking}, weight_file)
    code, told = refusal(capsys, "evaluate", copy, "--against", model, "--text", text)
    assert (code, told) == (1, f"armor-core evaluate: {copy}: holds no tensor {lacking}")
    save_file({key: value for key, value in tensors.items() if key != "model.norm.weight"}, weight_file)
    code, told = refusal(capsys, "evaluate", copy, "--against", model, "--text", text)
    assert (code, told) == (1, f"armor-core evaluate: {copy}: lacks the tensors model.norm.weight")
    weight_file.write_bytes(b"no safetensors")
    code, told = refusal(capsys, "evaluate", copy, "--against", model, "--text", text)
    assert code == 1
    assert str(weight_file) in told
    config = json.loads((copy / "config.json").read_text())
    config["quantization_config"]["base"] = {"quant_method": "fp8"}
    (copy / "config.json").write_text(json.dumps(config))
    code, told = refusal(capsys, "evaluate", copy, "--against", model, "--text", text)
    assert code == 1
    assert told.startswith(f"armor-core evaluate: {copy}: its other tensors are quantised (fp8)")
    (copy / "config.json").unlink()
    code, told = refusal(capsys, "evaluate", copy, "--against", model, "--text", text)
    assert (code, told) == (1, f"armor-core evaluate: {copy}: holds no config.json")


def test_options_that_cannot_be_used_are_refused(pair, tmp_path, capsys):
    model, out = pair
    given = ["evaluate", out, "--against", model, "--text", model / "text.txt"]
    assert refusal(capsys, *given, "--round-to", "9")[1].endswith("9 is not among 2 to 8 bits")
    assert refusal(capsys, *given, "--json", tmp_path)[1].endswith("is there and is no file")
    assert refusal(capsys, *given, "--sequence", "0")[0] == 2
    assert refusal(capsys, *given, "--sequence", "1")[1].endswith("windows of 1 leave no token to predict")
    assert refusal(capsys, *given, "--tokens", "1")[1].endswith(
        "--tokens 1 and windows of 64 leave no token to predict"
    )
    assert refusal(capsys, *given, "--dtype", "int8")[0] == 2


def test_models_may_be_run_in_another_type(pair):
    model, out = pair
    found, half = evaluate(out, model), evaluate(out, model, "--dtype", "bfloat16", "--round-to", 8)
    assert (found["dtype"], half["dtype"]) == ("float32", "bfloat16")
    assert half["perplexity"] != found["perplexity"]
    assert half["perplexity"] == pytest.approx(found["perplexity"], rel=0.02)
