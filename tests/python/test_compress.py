"""Whole tiny models, compressed block by block, against inputs that hooks of the tests keep."""

import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from conftest import armor, command
from safetensors.numpy import save_file
from small_model import contents
from tiny_models import CONFIGS, inputs_of, load, save, torch, transformers, weights

pytestmark = pytest.mark.field
job_module, compress_module, record_module = (
    importlib.import_module(f"armor_core.{name}") for name in ("job", "compression.compress", "compression.record")
)
main = importlib.import_module("armor_core.commands.main")

FAMILIES = [name for name in CONFIGS if name != "dbrx"]
SIZE = ("--tokens", 320, "--sequence", 40, "--block", 4, "--iterations", 5)


def compress(folder, out, *more):
    """Runs the command in this process."""
    given = ["compress", folder, out, "--text", folder / "text.txt", *SIZE, *more]
    options = main.parse([str(argument) for argument in given])
    options.run(options)


@pytest.fixture
def recorded(monkeypatch):
    """Notes what every layer is calibrated on and what becomes of it, in order, and the sequences."""
    layers, sequences = [], []

    class Recording(job_module.Job):
        def run_layer_on(self, index, calibration, progress=None):
            super().run_layer_on(index, calibration, progress)
            layers.append((self.layers[index], calibration, self.layer_weight(index)))

    read = compress_module.read_sequences

    def noting(*arguments):
        sequences[:] = read(*arguments)
        return sequences

    monkeypatch.setattr(compress_module, "Job", Recording)
    monkeypatch.setattr(compress_module, "read_sequences", noting)
    return layers, sequences


def rows(model, module, sequences):
    """What a module is handed, (tokens, k) in f64."""
    kept = inputs_of(model, [module], sequences)[module]
    return torch.cat([call[0].flatten(0, -2) for call in kept]).double().numpy()


ORDER = {
    "llama": ["q_proj k_proj v_proj", "o_proj", "gate_proj up_proj", "down_proj"],
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    "gpt2": ["attn.c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"],
}


@pytest.mark.parametrize("family", ORDER)
def test_each_layer_sees_what_the_layers_before_it_lost(family, tmp_path, recorded):
    layers, sequences = recorded
    folder = save(tmp_path / "model", family)
    compress(folder, tmp_path / "out", "--correction", 0.5)
    report = json.loads((tmp_path / "out/report.json").read_text())
    errors = {layer["name"]: layer["output_error"] for layer in report["layers"]}
    dense, model = load(folder), load(folder)
    todo = list(layers)
    for _block in range(2):
        for stage in ORDER[family]:
            ends = stage.split()
            part, todo = todo[: len(ends)], todo[len(ends) :]
            assert {name.removesuffix(".weight").split(".", 3)[-1] for name, _, _ in part} == {
                next(
                    n for n in [name.removesuffix(".weight").split(".", 3)[-1] for name, _, _ in part] if n.endswith(e)
                )
                for e in ends
            }
            put = []
            for name, pairs, compressed in part:
                module = name.removesuffix(".weight")
                x, seen = rows(dense, module, sequences), rows(model, module, sequences)
                assert pairs.tokens == len(seen) == sum(map(len, sequences))
                np.testing.assert_allclose(pairs.hessian(), seen.T @ seen / len(seen), rtol=2e-4, atol=1e-6)
                weight = dense.get_submodule(module).weight.detach().double().numpy()
                weight = weight.T if family == "gpt2" else weight
                lost = np.square(x @ weight.T - seen @ compressed.T.astype(float)).sum() / np.square(x @ weight.T).sum()
                assert errors[name] == pytest.approx(lost, rel=1e-3)
                put.append((module, compressed))
            for module, compressed in put:
                values = torch.from_numpy(compressed)
                model.get_submodule(module).weight.data = (values.T if family == "gpt2" else values).contiguous()
    assert todo == []


@pytest.mark.parametrize("family", FAMILIES)
def test_the_output_is_the_model_that_was_walked(family, tmp_path):
    from armor_core.model.load import load as load_stored
    from armor_core.model.stored import StoredModel

    folder = save(tmp_path / "model", family)
    compress(folder, tmp_path / "out")
    report = json.loads((tmp_path / "out/compression.json").read_text())
    assert report["propagation"] and len(report["blocks"]) == 2
    assert len(report["layers"]) == len(json.loads((tmp_path / "out/report.json").read_text())["layers"])
    assert "<svg" in (tmp_path / "out/compression.html").read_text()
    assert not (tmp_path / "out.work").exists()
    dense, model = load(folder), load_stored(StoredModel(tmp_path / "out"))
    options = main.parse(["compress", str(folder), "x", "--text", str(folder / "text.txt"), *map(str, SIZE)])
    sequences = compress_module.read_sequences(options, dense)
    path = report["blocks"][-1]["block"]
    pairs = [(output_of(dense, path, sequence), output_of(model, path, sequence)) for sequence in sequences]
    assert distance(pairs) == pytest.approx(report["blocks"][-1]["drift"], rel=1e-3)


def distance(pairs):
    """The squared distance of pairs of tensors over the squares of the first ones."""
    differences = [(one.double() - other.double()).square().sum().item() for one, other in pairs]
    return sum(differences) / sum(one.double().square().sum().item() for one, _ in pairs)


def output_of(model, path, sequence):
    """The hidden states that a block of a model gives."""
    kept = []
    handle = model.get_submodule(path).register_forward_hook(lambda _module, _args, output: kept.append(output))
    with torch.no_grad():
        model(input_ids=torch.tensor([sequence]))
    handle.remove()
    return kept[0] if isinstance(kept[0], torch.Tensor) else kept[0][0]


def test_without_propagation_layers_are_calibrated_as_by_calibrate(tmp_path, recorded):
    from tiny_models import collect

    layers, sequences = recorded
    folder = save(tmp_path / "model", "llama")
    compress(folder, tmp_path / "out", "--no-propagation", "--sequence", 53, "--tokens", 424)
    tensors = collect(folder, tmp_path / "h.safetensors", "--kind", "full", "--sequence", 53, "--tokens", 424)
    assert sum(map(len, sequences)) == 424
    for name, calibration, _ in layers:
        np.testing.assert_allclose(calibration.hessian(), tensors[name.removesuffix("weight") + "hessian"], rtol=1e-5)
    report = json.loads((tmp_path / "out/compression.json").read_text())
    assert not report["propagation"]
    assert all(block["drift"] is None and block["own"] > 0 for block in report["blocks"])


def test_propagation_lowers_the_drift(tmp_path):
    from armor_core.model.load import load as load_stored
    from armor_core.model.stored import StoredModel

    folder = save(tmp_path / "model", "llama")
    drifts = {}
    for name, more in (("propagated", ["--correction", 1]), ("apart", ["--no-propagation"])):
        compress(folder, tmp_path / name, *more)
        dense, model = load(folder), load_stored(StoredModel(tmp_path / name))
        options = main.parse(["compress", str(folder), "x", "--text", str(folder / "text.txt"), *map(str, SIZE)])
        sequences = compress_module.read_sequences(options, dense)
        path = "model.layers.1"
        drifts[name] = distance([(output_of(dense, path, s), output_of(model, path, s)) for s in sequences])
    assert drifts["propagated"] < drifts["apart"]


def test_overrides_reach_the_tensors_on_disk(tmp_path):
    folder = save(tmp_path / "model", "mixtral")
    overrides = [
        "--override",
        "model.layers.{1..5}.*",
        "block=8",
        "seed=3",
        "--override",
        "*.gate_up_proj",
        "pattern=1:4",
    ]
    compress(folder, tmp_path / "out", *overrides, "--override", "*.o_proj", "objective=diagonal")
    report = json.loads((tmp_path / "out/report.json").read_text())
    for layer in report["layers"]:
        expected = {}
        if layer["name"].startswith("model.layers.1."):
            expected |= {"left_block": 8, "right_block": 8, "seed": 3}
        if re.search(r"\.w[13]\.weight$", layer["name"]):
            expected |= {"pattern": "1:4"}
        if ".o_proj." in layer["name"]:
            expected |= {"objective": "diagonal"}
        assert layer.get("options", {}) == expected, layer["name"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["*.q_proj"], "--override *.q_proj: no KEY=VALUE follows"),
        (["*.q_proj", "block"], "'block' is not of the form KEY=VALUE"),
        (["*.q_proj", "block=8", "block=4"], "block is given twice"),
        (["*.{3..1}", "block=8"], "3..1 is no range"),
        (["*.nothing", "block=8"], "--override *.nothing: matches no layer that is compressed"),
        (["*.q_proj", "blok=8"], "blok"),
        (["*.q_proj", "block=0"], "left_block"),
        (["*.q_proj", "threads=1"], "threads"),
    ],
)
def test_a_wrong_override_is_refused(given, problem, tmp_path):
    folder = save(tmp_path / "model", "llama")
    words = ["compress", folder, tmp_path / "out", "--text", folder / "text.txt", *SIZE, "--override", *given]
    status, _, told = armor(*words)
    assert status in (1, 2)
    assert problem in told and "Traceback" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("family", "rate", "dtype"),
    [
        ("llama", 0.002, "bf16"),
        ("llama", 0.03, "f32"),
        ("gpt2", 0.002, "f32"),
        ("mixtral", 0.01, "f32"),
        ("gpt_oss", 0.002, "bf16"),
    ],
)
def test_tuning_lowers_the_error_of_blocks_and_the_output_is_what_was_tuned(family, rate, dtype, tmp_path, monkeypatch):
    from armor_core.model.load import load as load_stored
    from armor_core.model.stored import StoredModel

    folder = save(tmp_path / "model", family)
    monkeypatch.setattr(importlib.import_module("armor_core.compression.tune"), "RATE", rate)
    compress(folder, tmp_path / "out", "--tune", 8, "--dtype", dtype)
    report = json.loads((tmp_path / "out/compression.json").read_text())
    errors = [(block["tuning_error_before"], block["tuning_error_after"]) for block in report["blocks"]]
    assert all(after <= before for before, after in errors) and any(after < before for before, after in errors)
    for index, (before, after) in enumerate(errors):
        layers = [layer for layer in report["layers"] if f".{index}." in layer["name"].split(".experts.")[0] + "."]
        assert {layer.get("replaced", False) for layer in layers} == {after < before}
    dense, model = load(folder), load_stored(StoredModel(tmp_path / "out"))
    options = main.parse(["compress", str(folder), "x", "--text", str(folder / "text.txt"), *map(str, SIZE)])
    sequences = compress_module.read_sequences(options, dense)
    # The first block is handed the same on both paths; the last sequence is held out.
    path, after = report["blocks"][0]["block"], errors[0][1]
    held_out = [(output_of(dense, path, sequences[-1]), output_of(model, path, sequences[-1]))]
    assert distance(held_out) == pytest.approx(after, rel=1e-3)
    block = report["blocks"][-1]
    pairs = [(output_of(dense, block["block"], s), output_of(model, block["block"], s)) for s in sequences]
    assert distance(pairs) == pytest.approx(block["drift"], rel=1e-3)


def test_tuning_that_makes_it_worse_changes_nothing(tmp_path, monkeypatch):
    folder = save(tmp_path / "model", "llama")
    compress(folder, tmp_path / "plain")
    monkeypatch.setattr(importlib.import_module("armor_core.compression.tune"), "RATE", 10)
    compress(folder, tmp_path / "out", "--tune", 2)
    report = json.loads((tmp_path / "out/compression.json").read_text())
    assert all(block["tuning_error_before"] == block["tuning_error_after"] for block in report["blocks"])
    outputs = [(tmp_path / out / "armor-model.safetensors").read_bytes() for out in ("out", "plain")]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("calls", [0, 3, 9])
def test_a_run_that_ends_while_it_puts_tuned_factors_goes_on(calls, tmp_path, monkeypatch):
    folder = save(tmp_path / "model", "llama")
    compress(folder, tmp_path / "whole", "--tune", 1)
    left = [calls]
    replace = job_module.Job.replace_layer

    def interrupted_replace(self, index, factors):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(self, index, factors)

    with monkeypatch.context() as patch:
        patch.setattr(job_module.Job, "replace_layer", interrupted_replace)
        with pytest.raises(KeyboardInterrupt):
            compress(folder, tmp_path / "out", "--tune", 1)
    compress(folder, tmp_path / "out", "--tune", 1, "--resume")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not (tmp_path / "out.work").exists()


def test_a_damaged_file_of_tuned_factors_is_named(tmp_path, monkeypatch):
    folder = save(tmp_path / "model", "llama")

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job_module.Job, "replace_layer", interrupt)
        with pytest.raises(KeyboardInterrupt):
            compress(folder, tmp_path / "out", "--tune", 1)
    kept = tmp_path / "out.work/tuned-00000.safetensors"
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"tuned-00000\.safetensors is damaged"):
        compress(folder, tmp_path / "out", "--tune", 1, "--resume")
    kept.unlink()
    compress(folder, tmp_path / "out", "--tune", 1, "--resume")


def test_tuning_needs_a_sequence_to_hold_out(tmp_path):
    folder = save(tmp_path / "model", "llama")
    with pytest.raises(ValueError, match="--tune: needs two sequences"):
        compress(folder, tmp_path / "out", "--tune", 1, "--tokens", 40)


def gemma3n(folder):
    """A model that uses some layers of a block twice."""
    from tiny_models import TEXT, small, tokenizer

    config = transformers.Gemma3nTextConfig(
        **small(),
        head_dim=4,
        sliding_window=8,
        vocab_size_per_layer_input=260,
        hidden_size_per_layer_input=4,
        num_kv_shared_layers=0,
        laurel_rank=4,
        layer_types=["sliding_attention", "full_attention"],
        activation_sparsity_pattern=[0.0, 0.0],
    )
    torch.manual_seed(3)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer(bos=False).save_pretrained(folder)
    (folder / "text.txt").write_text(TEXT)
    return folder


def test_an_architecture_whose_blocks_cannot_be_run_alone_is_compressed_as_a_whole(tmp_path, capsys):
    folder = gemma3n(tmp_path / "model")
    compress(folder, tmp_path / "out")
    said = capsys.readouterr().err
    assert "times for one sequence; so every layer is calibrated on the inputs that it has in the dense model" in said
    report = json.loads((tmp_path / "out/compression.json").read_text())
    assert (report["block_by_block"], report["propagation"], report["blocks"]) == (False, False, [])
    assert len(report["layers"]) > 0


def killed(words, environment, seconds):
    """Starts a program and kills it after a time; gives whether it was still at work."""
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    alive = process.poll() is None
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def test_a_run_that_is_killed_and_goes_on_writes_the_same_bytes(tmp_path):
    folder = save(tmp_path / "model", "llama")
    given = ["--text", folder / "text.txt", *SIZE[:-1], 400]
    begun = time.monotonic()
    assert armor("compress", folder, tmp_path / "whole", *given)[0] == 0
    seconds = time.monotonic() - begun
    wanted = contents(tmp_path / "whole")
    random.seed(1)
    caught = 0
    for attempt in range(int(os.environ.get("ARMOR_KILLS", "3"))):
        out = tmp_path / "killed"
        words, environment = command("compress", folder, out, *given, "--resume")
        while killed(words, environment, random.uniform(0.3, 1.0) * seconds):
            caught += 1
        status, _, errors = armor("compress", folder, out, *given, "--resume")
        assert status == 0, errors
        assert contents(out) == wanted, attempt
        shutil.rmtree(out)
    print(f"{caught} kills caught the program at work")
    assert caught


def test_the_help_names_the_defaults_of_the_library(tmp_path):
    folder = save(tmp_path / "model", "llama")
    status, _, errors = armor("compress", folder, tmp_path / "out", "--text", folder / "text.txt", "--tokens", 64)
    assert status == 0, errors
    used = json.loads((tmp_path / "out/report.json").read_text())["settings"]
    words = " ".join(armor("compress", "--help")[1].split())
    for option, key in (
        ("correction G", "correction"),
        ("ridge L", "correction_ridge"),
        ("block N", "left_block"),
        ("iterations N", "iterations"),
        ("shrinkage A", "shrinkage"),
        ("seed N", "seed"),
    ):
        assert f"(default: {used[key]:g})" in words.split(f"--{option} ")[-1].split(" --")[0], option


def test_what_cannot_be_done_is_one_sentence(tmp_path):
    folder = save(tmp_path / "model", "llama")
    text = folder / "text.txt"

    def fails(*given, status=1):
        found, out, errors = armor("compress", *given)
        assert found == status, errors
        assert "Traceback" not in errors and out == ""
        return errors

    assert "none.txt is not there" in fails(folder, tmp_path / "out", "--text", tmp_path / "none.txt", status=2)
    assert "the weight 0 is" in fails(folder, tmp_path / "out", "--text", f"{text}:0", status=2)
    assert "is no folder" in fails(tmp_path / "none", tmp_path / "out", "--text", text, status=2)
    assert "matches none" in fails(folder, tmp_path / "out", "--text", text, "--include", "nothing*")
    assert "correction" in fails(folder, tmp_path / "out", "--text", text, *SIZE, "--correction", 2)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.work").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a").write_text("a")
    assert "full holds files already" in fails(folder, tmp_path / "full", "--text", text, *SIZE, status=2)
    words, environment = command("compress", folder, tmp_path / "begun", "--text", text, *SIZE[:-1], 100000)
    assert killed(words, environment, 12)
    assert "--resume" in fails(folder, tmp_path / "begun", "--text", text, *SIZE[:-1], 100000, status=2)
    other = tmp_path / "other.txt"
    other.write_text("Something else. " * 50)
    assert "holds another run: texts is" in fails(
        folder, tmp_path / "begun", "--text", other, *SIZE[:-1], 100000, "--resume"
    )


@pytest.mark.parametrize("work", ["out", "out/work", "."])
def test_the_folder_that_is_removed_at_the_end_is_apart_from_the_output(work, tmp_path, capsys):
    folder = save(tmp_path / "model", "llama")
    given = ["compress", folder, tmp_path / "out", "--text", folder / "text.txt", "--work", tmp_path / work]
    with pytest.raises(SystemExit) as ended:
        main.main([str(argument) for argument in given])
    assert ended.value.code == 2
    assert "choose two apart" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_output_may_be_the_folder_that_one_is_in(tmp_path, monkeypatch):
    folder = save(tmp_path / "model", "llama")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    compress(folder, ".")
    assert (tmp_path / "here/compression.json").is_file()
    assert not (tmp_path / "here.work").exists()


def leave_parts(out):
    """Puts what a kill leaves while a job removes its parts."""
    (out / ".parts-done").mkdir()
    (out / ".parts-done/00000.safetensors").write_text("a part")


def test_a_run_that_ends_between_the_jobs_report_and_its_own_goes_on(tmp_path, monkeypatch):
    folder = save(tmp_path / "model", "llama")
    compress(folder, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(compress_module, "write_report", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compress(folder, tmp_path / "out")
    assert (tmp_path / "out/report.json").is_file() and not (tmp_path / "out/compression.json").exists()
    leave_parts(tmp_path / "out")
    compress(folder, tmp_path / "out", "--resume")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    leave_parts(tmp_path / "out")
    compress(folder, tmp_path / "out", "--resume")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("option", ["--correction", "--ridge", "--shrinkage", "--threads"])
def test_a_number_is_finite_and_threads_are_not_too_many(option, tmp_path, capsys):
    bad = ("100000", "100000 is above 1024") if option == "--threads" else ("nan", "nan is not finite")
    assert main.parse(["compress", str(tmp_path), "out", "--text", "a.txt", option, "1"])
    with pytest.raises(SystemExit):
        main.parse(["compress", str(tmp_path), "out", "--text", "a.txt", option, bad[0]])
    assert f"argument {option}: {bad[1]}" in capsys.readouterr().err


def without_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


def without_a_tensor(folder):
    tensors = weights(folder)
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def with_few_tokens(folder):
    model = load(folder)
    model.resize_token_embeddings(50)
    model.save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (without_tokenizer, "model: holds no tokenizer (tokenizer.json"),
        (without_a_tensor, "model: lacks the tensors model.norm.weight"),
        (with_few_tokens, "and the model knows 50 tokens"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(spoil, problem, tmp_path):
    folder = save(tmp_path / "model", "llama")
    spoil(folder)
    with pytest.raises(ValueError, match=re.escape(problem)):
        compress(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.work").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--no-propagation", "--correction", "0"), "--correction changes nothing: every layer gets the inputs of the"),
        (("--no-propagation", "--ridge", "0.1"), "--ridge changes nothing: every layer gets the inputs of the dense"),
        (("--objective", "diagonal", "--shrinkage", "0.1"), "--shrinkage changes nothing: the objective is diagonal"),
        (("--all-experts",), "--all-experts changes nothing: no layer has stacked experts"),
    ],
)
def test_an_option_that_changes_nothing_is_said(given, said, tmp_path, capsys):
    folder = save(tmp_path / "model", "llama")
    compress(folder, tmp_path / "out", *given)
    assert f"warning: {said}" in capsys.readouterr().err
    compress(folder, tmp_path / "other", "--correction", 0.2, "--ridge", 0.1, "--shrinkage", 0.1)
    assert "changes nothing" not in capsys.readouterr().err


def test_experts_that_no_token_reached_are_said(tmp_path, capsys):
    folder = save(tmp_path / "model", "qwen2_moe")
    compress(folder, tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert min(layer["tokens"] for layer in report["layers"]) == 0
    said = capsys.readouterr().err
    assert "no token reached it, so all its inputs counted alike: model.layers.*.mlp.experts." in said
    compress(folder, tmp_path / "other", "--all-experts", "--tokens", 10, "--sequence", 10)
    said = capsys.readouterr().err
    assert "no token reached it" not in said
    assert "on fewer tokens than it has inputs" in said


def interrupted(monkeypatch, layers, *given):
    """Compresses, and stops before the layer after so many."""
    run, done = job_module.Job.run_layer_on, []

    def stop(self, *arguments):
        if len(done) == layers:
            raise KeyboardInterrupt
        done.append(run(self, *arguments))

    with monkeypatch.context() as patch:
        patch.setattr(job_module.Job, "run_layer_on", stop)
        with pytest.raises(KeyboardInterrupt):
            compress(*given)


def test_a_run_goes_on_with_its_own_configuration_and_hidden_states_alone(tmp_path, monkeypatch):
    folder, out = save(tmp_path / "model", "llama"), tmp_path / "out"
    interrupted(monkeypatch, 9, folder, out)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("1e-06", "1e-02"))
    with pytest.raises(ValueError, match="holds another run: config_sha256 is"):
        compress(folder, out, "--resume")
    (folder / "config.json").write_text(config)
    shutil.rmtree(out)
    with pytest.raises(ValueError, match=r"ahead of .*out, which lacks model\.layers\.0\."):
        compress(folder, out, "--resume")
    shutil.rmtree(tmp_path / "out.work")
    compress(folder, out, "--resume")
    compress(folder, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    folder = record_module.RunFolder(tmp_path / "work", {"a": 1}, resume=False)
    with pytest.raises(ValueError, match="another process is at work in"):
        record_module.RunFolder(tmp_path / "work", {"a": 1}, resume=True)
    folder.remove()
    folder = record_module.RunFolder(tmp_path / "work", {"a": 1}, resume=True)
    folder.put_errors([{"own": 0.5}])
    del folder
    assert record_module.RunFolder(tmp_path / "work", {"a": 1}, resume=True).errors(1) == [{"own": 0.5}]
    (tmp_path / "work/run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is damaged: .*; remove the folder"):
        record_module.RunFolder(tmp_path / "work", {"a": 1}, resume=True)
