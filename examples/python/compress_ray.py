#!/usr/bin/env python3
"""Compresses a checkpoint on Ray: its layers are tasks, run by any number of workers and machines.

    python3 compress_ray.py settings.json --workers 2                    # a cluster of this machine's own
    python3 compress_ray.py settings.json --address auto --threads 8     # one that is there

The settings are those of docs/checkpoints.md, as a JSON object. The checkpoint, the Hessians and the output lie where
every machine finds them under the same path; so do this folder and the library (see armor.py). A layer whose worker
dies is run again elsewhere. What comes out is, to the byte, what one machine writes, and either goes on with a job that
the other began: --resume.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import armor
import ray
from tqdm import tqdm

PATHS = ("checkpoint", "hessians", "out")


_opened: dict[str, armor.Job] = {}


def opened(settings: str) -> armor.Job:
    """Opens a job, once in a worker, to which Ray sends this function and the empty dictionary."""
    if settings not in _opened:
        _opened.clear()
        _opened[settings] = armor.Job(**json.loads(settings))
    return _opened[settings]


@ray.remote
def run_layer(settings: str, index: int) -> int:
    """Runs a layer, whose result goes to the output folder; gives its index."""
    opened(settings).run_layer(index)
    return index


def run(job: armor.Job, settings: dict[str, Any], threads: int, retries: int) -> None:
    """Runs the layers of a job that are not done, `threads` for each, on the Ray that is initialised; then finishes it.

    A layer is run anew up to `retries` times when its worker dies. An error of a layer's own ends the job; what is done
    stays done, for `"resume": true`.
    """
    # Workers join the job, which was checked when it was opened.
    shared = json.dumps({**settings, "resume": True, "check_values": False, "threads": threads})
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


def get(done: ray.ObjectRef, layer: str) -> None:
    """Raises what a layer failed with, under its name."""
    try:
        ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise RuntimeError(f"{plain(layer)}: {error.cause}") from error
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"{plain(layer)}: its workers died: {error}") from error


def plain(name: str) -> str:
    """A name from a file, with escapes for what a terminal would obey."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


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


def arguments() -> argparse.Namespace:
    """Reads and checks the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=Path, help="JSON file of the job's settings")
    parser.add_argument("--resume", action="store_true", help="go on with a job that was started")
    parser.add_argument("--address", help="of a cluster, or auto (default: one of this machine's own)")
    parser.add_argument("--workers", type=int, default=2, help="without --address: layers at a time (default: 2)")
    parser.add_argument("--threads", type=int, default=1, help="CPUs of a layer (default: 1)")
    parser.add_argument("--retries", type=int, default=3, help="how often a layer may lose its worker (default: 3)")
    options = parser.parse_args()
    for name, least in {"workers": 1, "threads": 1, "retries": 0}.items():
        if getattr(options, name) < least:
            parser.error(f"--{name}: {getattr(options, name)} is below {least}")
    return options


def main() -> None:
    """Connects to Ray, runs the job, and says what it gained."""
    options = arguments()
    try:
        settings = read_settings(options.settings, options.resume)
        job = armor.Job(**settings)
        if options.address:
            ray.init(address=options.address)
        else:
            ray.init(address="local", num_cpus=options.workers * options.threads, include_dashboard=False)
        run(job, settings, options.threads, options.retries)
    except (armor.ArmorError, OSError, ValueError, RuntimeError) as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from error
    print(json.dumps(job.report()["total"], indent=2))


if __name__ == "__main__":
    main()
