"""Ray writes what one machine writes, though workers die."""

import contextlib
import json
import subprocess
import time
from pathlib import Path

import armor_core
import psutil
import pytest
import small_model
from conftest import command
from safetensors.numpy import load_file, save_file
from test_job import finish, same

pytest.importorskip("ray")
LAYERS = 16
DEADLINE = 240


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Settings of a job, and what one process has written by them."""
    folder = tmp_path_factory.mktemp("whole")
    settings = small_model.write(folder, folder / "out", layers=LAYERS // 4, iterations=400)
    finish(settings)
    return settings


@pytest.fixture
def start():
    """Starts the command with two workers; ends what is left of it and of its Ray."""
    begun = []

    def start(settings, *more):
        path = Path(settings["out"]).with_suffix(".json")
        path.write_text(json.dumps(settings))
        words, environment = command("compress-ray", path, "--workers", "2", *more)
        begun.append(launched(words, environment))
        return begun[-1]

    yield start
    for process in begun:
        kill_all(process)


def launched(words, environment):
    """Starts a program; what it prints is kept for `end`."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return psutil.Popen(words, env=environment, **output)


def kill_all(process):
    """Kills a process and all that came from it, Ray's own processes among them."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()


def end(process):
    """Waits for the end: the exit status, and what was printed."""
    printed, _ = process.communicate(timeout=DEADLINE)
    return process.returncode, printed


def wait_for(condition, process):
    """Waits until a condition gives something; fails if the process ends before."""
    last = time.monotonic() + DEADLINE
    while time.monotonic() < last:
        value = condition()
        if value:
            return value
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    raise AssertionError("it never came")


def done(settings):
    """How many layers are done, as the output folder tells."""
    return len(list((Path(settings["out"]) / ".parts").glob("*.safetensors")))


def working(process):
    """Workers that run a layer: Ray names a process after its task."""
    found = []
    for one in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if one.cmdline()[:1] == ["ray::run_layer"]:
                found.append(one)
    return found


def test_a_killed_worker_changes_nothing(start, whole, tmp_path):
    settings = {**whole, "out": str(tmp_path / "out")}
    process = start(settings)
    wait_for(lambda: done(settings) >= 2, process)
    wait_for(lambda: working(process), process)[0].kill()
    assert done(settings) < LAYERS - 2, "the worker died in the middle"
    status, printed = end(process)
    assert status == 0, printed
    assert same(Path(whole["out"]), tmp_path / "out")


def test_a_job_whose_retries_are_used_up_names_the_layer_and_can_be_gone_on_with(start, whole, tmp_path):
    settings = {**whole, "out": str(tmp_path / "out")}
    process = start(settings, "--retries", "0")
    wait_for(lambda: done(settings) >= 2, process)
    wait_for(lambda: working(process), process)[0].kill()
    status, printed = end(process)
    assert status == 1, printed
    assert "armor-core compress-ray: model.layers." in printed
    assert "its workers died" in printed
    assert 2 <= done(settings) < LAYERS
    finish({**settings, "resume": True})
    assert same(Path(whole["out"]), tmp_path / "out")


def test_one_machine_goes_on_where_ray_was_killed(start, whole, tmp_path):
    settings = {**whole, "out": str(tmp_path / "out")}
    process = start(settings)
    wait_for(lambda: done(settings) >= 2, process)
    kill_all(process)
    assert 2 <= done(settings) < LAYERS
    finish({**settings, "resume": True})
    assert same(Path(whole["out"]), tmp_path / "out")


def test_ray_goes_on_where_one_machine_stopped(start, whole, tmp_path):
    settings = {**whole, "out": str(tmp_path / "out")}
    job = armor_core.Job(**settings)
    for index in (1, 5, 6):
        job.run_layer(index)
    status, printed = end(start(settings))
    assert status == 1, printed
    assert "resume" in printed
    status, printed = end(start(settings, "--resume"))
    assert status == 0, printed
    assert same(Path(whole["out"]), tmp_path / "out")


def test_an_error_of_a_layer_is_told_with_its_name(start, whole, tmp_path):
    hessians = load_file(whole["hessians"])
    hessians["model.layers.1.mlp.up_proj.hessian_diag"][3] = float("nan")
    save_file(hessians, tmp_path / "wrong.safetensors")
    wrong = {"hessians": str(tmp_path / "wrong.safetensors"), "check_values": False}
    status, printed = end(start({**whole, **wrong, "out": str(tmp_path / "out")}))
    assert status == 1, printed
    message = next(line for line in printed.splitlines() if line.startswith("armor-core compress-ray: "))
    assert message.startswith("armor-core compress-ray: model.layers.1.mlp.up_proj.weight: "), printed
    assert "NaN" in message, printed
