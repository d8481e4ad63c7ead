"""What the commands that run on Ray share."""

from __future__ import annotations

import json
from typing import Any

import ray

from armor_core.commands.terminal import plain
from armor_core.job import Job

HERE = "local"

_opened: dict[str, Job] = {}


def connect(address: str, workers: int, threads: int) -> None:
    """Connects to a cluster, or starts one on this machine where the address is `HERE`, for `workers` tasks at a time.

    A ValueError says that no machine of the cluster has the CPUs of a task.
    """
    if address == HERE:
        ray.init(address=HERE, num_cpus=workers * threads, include_dashboard=False)
    else:
        ray.init(address=address)
    most = max((int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]), default=0)
    if most < threads:
        raise ValueError(f"--threads: {threads} is more than the {most} CPUs of the largest machine of the cluster")


def opened(settings: str) -> Job:
    """Opens a job, once in each worker."""
    if settings not in _opened:
        _opened.clear()
        _opened[settings] = Job(**json.loads(settings))
    return _opened[settings]


def for_workers(settings: dict[str, Any], threads: int) -> str:
    """The settings by which workers join a job, which was checked when it was opened."""
    return json.dumps({**settings, "resume": True, "check_values": False, "threads": threads}, default=str)


def get(done: ray.ObjectRef, what: str) -> Any:  # noqa: ANN401 - whatever a task gives
    """The result of a task; raises what it failed with, which `what` begins."""
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise RuntimeError(f"{plain(what)}: {error.cause}") from error
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"{plain(what)}: its workers died: {error}") from error
