"""Compresses a model of Hugging Face: from the options of the command to the compressed folder and its report."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from armor_core.calibration.choice import summary
from armor_core.calibration.text import Frame, check_tokens, frame, tokenizer_of, within_context
from armor_core.commands.calibrate import choose, find_on_disk
from armor_core.commands.terminal import say
from armor_core.compression.bar import LayersBar
from armor_core.compression.blocks import Blocks, UnknownArchitectureError
from armor_core.compression.places import Compression, find_places
from armor_core.compression.record import RunFolder, writer
from armor_core.compression.report import read_report, write_report
from armor_core.compression.sequences import Text, make_sequences
from armor_core.compression.stages import find_stages, stages_of_blocks
from armor_core.compression.states import HiddenStates
from armor_core.compression.walk import COMPRESSED, DENSE, Walk
from armor_core.compression.whole import compress_whole
from armor_core.compression.workers import Local
from armor_core.job import Job
from armor_core.model.load import load_dense

if TYPE_CHECKING:
    import argparse

    from armor_core.calibration.layers import Layer
    from armor_core.calibration.output import Stored
    from armor_core.compression.blocks import Call
    from armor_core.compression.places import Place
    from armor_core.compression.stages import Stage
    from armor_core.compression.workers import Workers

PROBED = 64
# The options that are settings of the job under the same name.
SETTINGS = ("block", "iterations", "pattern", "objective", "shrinkage", "seed", "format", "dtype", "threads")


@dataclasses.dataclass
class Model:
    """A model in memory, its layers that are to be compressed, and their weights on disk."""

    module: torch.nn.Module
    layers: dict[str, Layer]
    stored: list[Stored]


@dataclasses.dataclass
class Route:
    """The blocks of a model with what each is handed, and its stages."""

    blocks: Blocks
    calls: list[Call]
    stages: list[list[Stage]]


@dataclasses.dataclass
class Target:
    """Where the results go, and who makes them."""

    job: Job
    folder: RunFolder
    workers: Workers


def compress(options: argparse.Namespace) -> None:
    """Compresses the model, and writes the report."""
    if options.threads:
        torch.set_num_threads(options.threads)
    module = load_dense(options.model, trust_remote_code=options.trust_remote_code, complete=True)
    layers = choose(options, module)
    sequences = read_sequences(options, module)
    if options.tune and len(sequences) == 1:
        raise ValueError("--tune: needs two sequences, one of them to hold out: more --tokens, or a shorter --sequence")
    stages = probe(module, layers, sequences[0][:PROBED])
    model = Model(module, layers, find_on_disk(options, layers))
    route = find_route(model, stages, sequences)
    settings = job_settings(options, model.stored)
    job = Job(**settings)
    if options.dry_run:
        print(json.dumps(job.plan(), indent=2))
        return
    for warning in job.plan()["warnings"]:
        say(f"warning: {warning}")
    say_unused(options, model.layers, walked=route is not None)
    record = record_of(options, sequences, walked=route is not None)
    is_finished = (options.out / "report.json").exists()
    if is_finished and not options.work.exists():
        report = read_report(options.out, record)
        job.finish()  # removes what a kill has left of the job's own files
        tell_result(options, report)
        return
    run_folder = RunFolder(options.work, record, resume=options.resume)
    if is_finished:
        errors = run_folder.errors(len(route.blocks.modules) if route else 0)
    else:
        workers = find_workers(options, settings, record)
        errors = run_job(options, model, route, sequences, Target(job, run_folder, workers))
        run_folder.put_errors(errors)
    job.finish()
    report = write_report(options.out, record, errors, job.report())
    run_folder.remove()
    tell_result(options, report)


def say_unused(options: argparse.Namespace, layers: dict[str, Layer], *, walked: bool) -> None:
    """Says which of the given options change nothing, and why."""
    pairs = walked and not options.no_propagation
    of_dense = "every layer gets the inputs of the dense model"
    for option, used, reason in (
        ("correction", pairs, of_dense),
        ("ridge", pairs, of_dense),
        ("shrinkage", "full" in objectives_of(options), "the objective is diagonal"),
        ("tune", walked, "only blocks that run one by one are tuned"),
        ("all_experts", any(layer.experts for layer in layers.values()), "no layer has stacked experts"),
    ):
        value = getattr(options, option)
        if value is not None and value is not False and not used:
            say(f"warning: --{option.replace('_', '-')} changes nothing: {reason}")


def objectives_of(options: argparse.Namespace) -> set[str | None]:
    """The objectives of all layers."""
    return {options.objective, *(override.options.get("objective") for override in options.override)}


def tell_result(options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Prints what became of the weights; says which were calibrated on few tokens, and which have grown."""
    idle = [layer["name"] for layer in report["layers"] if not layer["tokens"]]
    scarce = [layer["name"] for layer in report["layers"] if 0 < layer["tokens"] < layer["cols"]]
    if idle:
        say(f"warning: no token reached it, so all its inputs counted alike: {summary(idle)}")
    if scarce:
        say(f"warning: on fewer tokens than it has inputs, more of them help (--tokens): {summary(scarce)}")
    grown = [layer["name"] for layer in report["layers"] if layer["bytes_after"] > layer["bytes_before"]]
    if grown:
        say(f"warning: larger than before, smaller blocks (--block) or --exclude help: {summary(grown)}")
    print(
        f"{options.out}: {len(report['layers'])} layers, {report['weights']:,} weights, "
        f"{report['bits_per_weight']:.2f} bits a weight, {report['bytes_before']:,} bytes before and "
        f"{report['bytes_after']:,} after; what the model lost:\n"
        f"  armor-core evaluate {options.out} --text HELD_OUT --against {options.model}"
    )


def read_sequences(options: argparse.Namespace, module: torch.nn.Module) -> list[list[int]]:
    """The texts as sequences of token numbers, cut to the context length of the model."""
    tokenizer = tokenizer_of(options.model, trust_remote_code=options.trust_remote_code)
    texts = [Text.parse(given) for given in options.text]
    length = within_context(options.sequence, module.config)
    around = frame(tokenizer, "A text.")
    if module.can_generate():  # sequences come from the middle of a text, which a final token would deny
        around = Frame(around.before, [])
    sequences = make_sequences(texts, tokenizer, around, (options.tokens, length), say)
    check_tokens(options.model, module, sequences)
    return sequences


def probe(module: torch.nn.Module, layers: dict[str, Layer], tokens: list[int]) -> list[Stage]:
    """Runs the model on a few tokens: the stages in which it uses its layers. Removes layers that it does not use."""
    stages = find_stages(module, layers, tokens)
    used = {name for stage in stages for name in stage.layers}
    unused = [name for name in layers if name not in used]
    if not used:
        raise ValueError(f"no token reached any of the layers: {summary(layers)}")
    if unused:
        say(f"left out, no token reached it: {summary(unused)}")
    for name in unused:
        del layers[name]
    return stages


def find_route(model: Model, stages: list[Stage], sequences: list[list[int]]) -> Route | None:
    """How to run the model block by block; None, said with the reason, where that is not known to be right.

    Leaves layers outside of the blocks out of the model.
    """
    try:
        blocks = Blocks(model.module, model.layers)
        inside = {name for name in model.layers if name.startswith(f"{blocks.path}.")}
        stages = [stage for stage in stages if inside.issuperset(stage.layers)]
        shared = [tuple(weight.layers) for weight in model.stored if len(weight.layers) > 1]
        of_blocks = stages_of_blocks(stages, blocks.names, [names for names in shared if inside.issuperset(names)])
        calls = blocks.record(sequences)
    except UnknownArchitectureError as error:
        say(f"warning: {error}; so every layer is calibrated on the inputs that it has in the dense model")
        return None
    outside = [name for name in model.layers if name not in inside]
    if outside:
        say(f"left out, outside of {blocks.path}: {summary(outside)}")
        model.layers = {name: model.layers[name] for name in inside}
        model.stored = [weight for weight in model.stored if inside.issuperset(weight.layers)]
    return Route(blocks, calls, of_blocks)


def job_settings(options: argparse.Namespace, stored: list[Stored]) -> dict[str, Any]:
    """The settings of the job that compresses the weights on disk."""
    settings = {name: value for name in SETTINGS if (value := getattr(options, name)) is not None}
    return {
        "checkpoint": options.model,
        "out": options.out,
        "include": sorted(weight.tensor for weight in stored),
        "transposed": sorted(weight.tensor for weight in stored if weight.transposed),
        "correction": options.correction,
        "correction_ridge": options.ridge,
        "overrides": [override.setting(stored) for override in options.override],
        "resume": options.resume,
        **settings,
    }


def record_of(options: argparse.Namespace, sequences: list[list[int]], *, walked: bool) -> dict[str, Any]:
    """What a run and its results depend on beside the job: two runs with one record go on with one another's work."""
    return {
        "config_sha256": hashlib.sha256((options.model / "config.json").read_bytes()).hexdigest(),
        "writer": writer(),
        "threads": torch.get_num_threads(),
        "texts": [[text.path.name, text.weight, text.sha256()] for text in map(Text.parse, options.text)],
        "sequences": len(sequences),
        "tokens_of_a_sequence": len(sequences[0]),
        "tokens_sha256": hashlib.sha256(np.array(sequences, np.int64).tobytes()).hexdigest(),
        "block_by_block": walked,
        "propagation": walked and not options.no_propagation,
        "all_experts": options.all_experts,
        "tune": (options.tune or 0) if walked else 0,
        "overrides": [[override.glob, override.options] for override in options.override],
        "settings": {name: getattr(options, name) for name in (*SETTINGS, "correction", "ridge") if name != "threads"},
    }


def find_workers(options: argparse.Namespace, settings: dict[str, Any], record: dict[str, Any]) -> Workers:
    """What does the work: this process, or Ray."""
    if options.ray is None:
        return Local()
    from armor_core.cluster import connect
    from armor_core.compression.remote import Ray

    options.out.mkdir(parents=True, exist_ok=True)
    connect(options.ray, options.workers, options.threads)
    workers = Ray(settings, options.threads, options.retries)
    workers.check(options.work, record, (options.model, options.out))
    return workers


def run_job(
    options: argparse.Namespace,
    model: Model,
    route: Route | None,
    sequences: list[list[int]],
    to: Target,
) -> list[dict[str, Any]]:
    """Compresses all layers; gives what each block lost, if the model was run block by block."""
    places = find_places(to.job.plan(), model.stored)
    distinct = {place.index: place for some in places.values() for place in some}
    kind = "full" if "full" in objectives_of(options) else "diagonal"
    with LayersBar(list(distinct.values())) as bar:
        bar.start([place for place in distinct.values() if to.job.is_done(place.index)])
        compression = Compression(to.job, places, kind, to.workers, bar.progress, bar.done)
        if route is None:
            whole = load_dense(options.model, trust_remote_code=options.trust_remote_code, complete=True)
            layers = {name: rebound(layer, whole) for name, layer in model.layers.items()}
            compress_whole(whole, layers, sequences, compression, all_experts=options.all_experts)
            return []
        propagate = not options.no_propagation
        states = HiddenStates(to.folder.folder, (DENSE, COMPRESSED) if propagate else (DENSE,), len(sequences))
        for place in places_before(states.block or 0, route, places):
            if not to.job.is_done(place.index):
                raise ValueError(
                    f"--work: {to.folder.folder} is of another run, ahead of {options.out}, which lacks {place.name}; "
                    "remove it, and --resume begins with the first block again"
                )
        if states.block is None:
            bar.say("embedding")
            states.begin(lambda index: route.blocks.before(sequences[index]))
        walk = Walk(
            route.blocks,
            route.calls,
            route.stages,
            model.layers,
            compression,
            states,
            to.folder,
            to.workers,
            propagate,
            options.all_experts,
            options.tune or 0,
            options.seed or 0,
            bar.say,
            lambda errors: bar.say_part(described(errors)),
        )
        return walk.run()


def places_before(block: int, route: Route, places: dict[str, list[Place]]) -> list[Place]:
    """The places of the layers in the first blocks."""
    names = [name for stages in route.stages[:block] for stage in stages for name in stage.layers]
    return [place for name in names for place in places.get(name, [])]


def described(errors: dict[str, Any]) -> str:
    """What a block lost, in words."""
    drift = "" if errors["drift"] is None else f", of all blocks up to it {errors['drift']:.2e}"
    tuned = ""
    if "tuning_error_before" in errors:
        before, after = errors["tuning_error_before"], errors["tuning_error_after"]
        tuned = f"; tuning took it from {before:.2e} to {after:.2e} on sequences held out"
    return f"{errors['block']}: relative squared error of its output {errors['own']:.2e}{drift}{tuned}"


def rebound(layer: Layer, module: torch.nn.Module) -> Layer:
    """The same layer in another copy of the model."""
    path = layer.name if layer.experts is None else layer.name.removesuffix(f".{layer.parameter}").rstrip(".")
    return dataclasses.replace(layer, module=module.get_submodule(path))
