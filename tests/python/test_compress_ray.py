"""Models that are compressed on Ray are those that one machine writes, though workers and drivers die."""

import contextlib
import importlib
import json
import shutil

import psutil
import pytest
from conftest import armor, command
from safetensors.numpy import load_file, save_file
from small_model import contents
from test_compress import gemma3n
from test_ray import end, kill_all, launched, wait_for
from tiny_models import TEXT, save
from tokenizers.pre_tokenizers import ByteLevel

pytest.importorskip("ray")
pytestmark = pytest.mark.field
remote = importlib.import_module("armor_core.compression.remote")
record = importlib.import_module("armor_core.compression.record")

# 20 sequences, so three shards, of which the last is not full.
SIZE = ("--tokens", 400, "--sequence", 20, "--block", 4, "--iterations", 5)
LONG = (*SIZE[:-1], 3000)


@pytest.fixture
def start():
    """Starts the command on Ray; ends what is left of it and of its Ray."""
    begun = []

    def start(folder, out, *more):
        begun.append(launched(*command("compress", folder, out, "--text", folder / "text.txt", *more)))
        return begun[-1]

    yield start
    for process in begun:
        kill_all(process)


def written(out):
    """The files of an output; those of the folder of work are gone."""
    assert not out.with_name(f"{out.name}.work").exists()
    return contents(out)


def locally(folder, out, *more):
    """What the command writes without Ray, with one thread."""
    status, _, errors = armor("compress", folder, out, "--text", folder / "text.txt", "--threads", 1, *more)
    assert status == 0, errors
    return written(out)


def working(process, task):
    """Workers that run a task: Ray names a process after it."""
    found = []
    for one in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if one.cmdline()[:1] == [f"ray::{task}"]:
                found.append(one)
    return found


@pytest.mark.parametrize(
    ("family", "more", "workers"),
    [
        ("llama", [], (1, 2)),
        ("mixtral", [], (1, 2)),
        ("mixtral", ["--all-experts"], (2,)),
        ("llama", ["--no-propagation"], (2,)),
        ("gpt2", ["--objective", "diagonal"], (2,)),
    ],
)
def test_any_number_of_workers_writes_what_one_machine_writes(family, more, workers, start, tmp_path):
    folder = save(tmp_path / "model", family)
    wanted = locally(folder, tmp_path / "out", *SIZE, *more)
    report = json.loads(wanted["compression.json"])
    assert report["sequences"] == 20 and len(report["blocks"]) == 2
    for number in workers:
        shutil.rmtree(tmp_path / "out")
        status, printed = end(start(folder, tmp_path / "out", *SIZE, *more, "--ray", "--workers", number))
        assert status == 0, printed
        assert written(tmp_path / "out") == wanted, number


def test_a_model_that_is_calibrated_as_a_whole_is_compressed_in_tasks(start, tmp_path):
    folder = gemma3n(tmp_path / "model")
    wanted = locally(folder, tmp_path / "out", *SIZE)
    assert not json.loads(wanted["compression.json"])["block_by_block"]
    shutil.rmtree(tmp_path / "out")
    status, printed = end(start(folder, tmp_path / "out", *SIZE, "--ray"))
    assert status == 0, printed
    assert written(tmp_path / "out") == wanted


OWN = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnLayer(LlamaDecoderLayer):
    pass


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        layers = [OwnLayer(config, index) for index in range(config.num_hidden_layers)]
        self.model.layers = torch.nn.ModuleList(layers)
        self.post_init()
"""


def test_the_code_that_a_model_brings_is_sent_to_workers(start, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = save(tmp_path / "model", "llama")
    (folder / "modeling_own.py").write_text(OWN)
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    config.update(model_type="own", architectures=["OwnModel"], auto_map=classes)
    (folder / "config.json").write_text(json.dumps(config))
    wanted = locally(folder, tmp_path / "out", *SIZE, "--trust-remote-code")
    shutil.rmtree(tmp_path / "out")
    status, printed = end(start(folder, tmp_path / "out", *SIZE, "--trust-remote-code", "--ray"))
    assert status == 0, printed
    assert written(tmp_path / "out") == wanted


@pytest.mark.parametrize("task", ["pairs", "run_layer", "advance"])
def test_a_killed_worker_changes_nothing(task, start, tmp_path):
    folder = save(tmp_path / "model", "llama")
    size = LONG if task == "run_layer" else SIZE
    wanted = locally(folder, tmp_path / "out", *size)
    shutil.rmtree(tmp_path / "out")
    process = start(folder, tmp_path / "out", *size, "--ray")
    wait_for(lambda: working(process, task), process)[0].kill()
    status, printed = end(process)
    assert status == 0, printed
    assert "the task will be retried" in printed, "Ray did not see that the task was not finished"
    assert written(tmp_path / "out") == wanted


def test_one_machine_goes_on_where_ray_was_killed_and_the_other_way_round(start, tmp_path):
    folder, out = save(tmp_path / "model", "llama"), tmp_path / "out"
    wanted = locally(folder, out, *LONG)
    shutil.rmtree(out)

    def done(block):
        return list(out.glob(f".parts/*{block}.*")) or list(out.with_name("out.work").glob("block-00001-*"))

    for first, second in ((["--ray"], ["--threads", 1]), (["--threads", 1], ["--ray"])):
        process = start(folder, out, *LONG, *first)
        wait_for(lambda: done(0), process)
        kill_all(process)
        status, printed = end(start(folder, out, *LONG, "--resume", *second))
        assert status == 0, printed
        assert written(out) == wanted
        shutil.rmtree(out)


def test_what_cannot_be_done_on_ray_is_one_sentence(start, tmp_path):
    folder = save(tmp_path / "model", "llama")

    def fails(out, *more):
        status, printed = end(start(folder, tmp_path / out, *SIZE, *more))
        assert status == 1 and "Traceback" not in printed, printed
        return next(line for line in printed.splitlines() if line.startswith("armor-core compress: "))

    # A token whose embedding is not finite, late in the text: a worker is the first that sees it.
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].copy()
    tensors["model.embed_tokens.weight"][sorted(ByteLevel.alphabet()).index("Z")] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "text.txt").write_text(TEXT[:380] + "Z" * 20)
    for more in (["--threads", 1], ["--ray"]):
        message = fails("out", *more)
        assert "model.layers.0.self_attn.q_proj: dense: entry [0, 0] is NaN" in message
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        shutil.rmtree(tmp_path / "out.work")


def test_a_machine_that_cannot_take_part_is_told(tmp_path):
    work, model = tmp_path / "work", tmp_path / "model"
    run = {"writer": record.writer(), "threads": 1}
    record.RunFolder(work, run, resume=False)
    assert "model, which must lie on a file system that all machines share" in remote.obstacle(work, run, (model,))
    model.mkdir()
    assert remote.obstacle(work, run, (model,)) is None
    other = {**run, "writer": f"{run['writer']}.1"}
    assert remote.obstacle(work, other, (model,)) == f"has {run['writer']}, and not {run['writer']}.1"
    assert "threads is 1 there, and 2 here" in remote.obstacle(work, {**run, "threads": 2}, (model,))
    (work / "run.json").unlink()
    assert "run.json" in remote.obstacle(work, run, (model,))
