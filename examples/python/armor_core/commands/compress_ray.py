"""Compresses a checkpoint on Ray: its layers are tasks, run by any number of workers and machines.

    armor-core compress-ray settings.json --workers 2                    # a cluster of this machine's own
    armor-core compress-ray settings.json --address auto --threads 8     # one that is there

The settings are those of docs/checkpoints.md, as a JSON object. The checkpoint, the Hessians and the output lie where
every machine finds them under the same path, and this package is installed on every machine. A layer whose worker dies
is run again elsewhere. The output is, to the byte, what one machine writes, and either continues a job that the other
began: --resume.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from tqdm import tqdm

from armor_core.cluster import HERE, connect, for_workers, get, opened
from armor_core.commands.arguments import file, not_negative, positive
from armor_core.commands.terminal import plain
from armor_core.job import Job

if TYPE_CHECKING:
    import argparse

PATHS = ("checkpoint", "hessians", "out")


@ray.remote
def run_layer(settings: str, index: int) -> int:
    """Runs a layer, whose result goes to the output folder; gives its index."""
    opened(settings).run_layer(index)
    return index


def run_layers(job: Job, settings: dict[str, Any], threads: int, retries: int) -> None:
    """Runs the layers of a job that are not done, `threads` for each, on the Ray that is initialised; then finishes it.

    A layer is run anew up to `retries` times when its worker dies. An error of a layer's own ends the job; what is done
    stays done, for `"resume": true`.
    """
    shared = for_workers(settings, threads)
    task = run_layer.options(num_cpus=threads, max_retries=retries)
    left = [index for index in range(len(job.layers)) if not job.is_done(index)]
    layers = {task.remote(shared, index): job.layers[index] for index in left}
    with tqdm(total=len(job.layers), initial=len(job.layers) - len(left), unit="layer") as bar:
        running = list(layers)
        try:
            while running:
                (done,), running = ray.wait(running, num_returns=1)
                get(done, layers[done])
                bar.set_postfix_str(plain(layers[done]))
                bar.update()
        finally:
            for unfinished in running:
                ray.cancel(unfinished, force=True)
    job.finish()


def read_settings(path: Path, resume: bool) -> dict[str, Any]:
    """Reads a JSON object of settings; makes its paths absolute, since workers run in folders of their own."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: is no JSON object")
    for key in PATHS:
        if isinstance(settings.get(key), str):
            settings[key] = str(Path(settings[key]).resolve())
    return {**settings, "resume": True} if resume else settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("settings", type=file, help="JSON file of the job's settings")
    parser.add_argument("--resume", action="store_true", help="continue a job that was started")
    parser.add_argument("--address", help="of a cluster, or auto (default: one of this machine's own)")
    for name, kind, default, what in (
        ("--workers", positive, 2, "without --address: layers at a time"),
        ("--threads", positive, 1, "CPUs of a layer"),
        ("--retries", not_negative, 3, "how often a layer may lose its worker"),
    ):
        parser.add_argument(name, type=kind, default=default, metavar="N", help=f"{what} (default: %(default)s)")


def run(options: argparse.Namespace) -> None:
    """Connects to Ray, runs the job, and says what it gained."""
    settings = read_settings(options.settings, options.resume)
    job = Job(**settings)
    connect(options.address or HERE, options.workers, options.threads)
    run_layers(job, settings, options.threads, options.retries)
    print(json.dumps(job.report()["total"], indent=2))
