"""Compresses a model: each layer on the inputs that it has in the compressed model.

    armor-core compress MODEL OUT --text corpus.txt --block 64

MODEL is a folder of a Hugging Face model. OUT gets its files with A · S · B in place of the weights of linear layers
and experts, report.json and summary.html with what became of every tensor, and compression.json and compression.html
with what the blocks lost. A text is a file of plain text, or of chats in the form of .jsonl, {"messages": [{"role": …,
"content": …}, …]} on every line; several are mixed by their weights. They should be like what the model will be used
for.

The model runs block by block, beside its dense twin. Hidden states and what else is needed to go on after a kill lie
in a folder beside OUT until the job is done: the same command with --resume goes on. armor-core evaluate tells what the
model lost.

With --ray the work is done by any number of machines, which find MODEL, OUT and that folder under the same paths. The
output is the same, byte for byte, as that of one machine with as many --threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from armor_core.commands.arguments import UsageError, folder, not_negative, number, positive, threads

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("model", type=folder, metavar="MODEL", help="folder of a Hugging Face model")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write: new or empty, or with --resume")
    calibration = parser.add_argument_group("calibration")
    calibration.add_argument(
        "--text", nargs="+", required=True, metavar="FILE[:WEIGHT]", help="texts to calibrate on, and their shares"
    )
    for name, default, what in (
        ("--tokens", 32768, "tokens of all texts together"),
        ("--sequence", 1024, "tokens of a sequence"),
    ):
        calibration.add_argument(
            name, type=positive, default=default, metavar="N", help=f"{what} (default: %(default)s)"
        )
    calibration.add_argument(
        "--no-propagation", action="store_true", help="give every layer the inputs of the dense model"
    )
    calibration.add_argument(
        "--correction",
        type=number,
        metavar="G",
        help="how far a layer corrects what those before it lost, 0 to 1 (default: 0.5)",
    )
    calibration.add_argument(
        "--ridge", type=number, metavar="L", help="ridge of the correction, over the mean of diag(H) (default: 0.01)"
    )
    calibration.add_argument("--all-experts", action="store_true", help="let every token count for every expert")
    calibration.add_argument(
        "--tune",
        type=not_negative,
        metavar="N",
        help="then train the factors of each block for N passes over the tokens (default: 0)",
    )
    layers = parser.add_argument_group("layers")
    layers.add_argument("--include", nargs="+", default=["*"], metavar="GLOB", help="by their names in memory")
    layers.add_argument("--exclude", nargs="*", default=[], metavar="GLOB", help="but not")
    layers.add_argument("--head-and-routers", action="store_true", help="also routers and the like")
    factors = parser.add_argument_group("factors")
    factors.add_argument("--block", type=positive, metavar="N", help="size of the wrappers' blocks (default: 64)")
    factors.add_argument("--iterations", type=positive, metavar="N", help="most iterations of a layer (default: 120)")
    factors.add_argument("--pattern", metavar="N:M", help="sparsity of the core (default: 2:4)")
    factors.add_argument("--objective", choices=("full", "diagonal"), default="full", help="(default: %(default)s)")
    factors.add_argument(
        "--shrinkage", type=number, metavar="A", help="of the full Hessian to its diagonal, 0 to 1 (default: 0.5)"
    )
    factors.add_argument("--seed", type=not_negative, metavar="N", help="of every random choice (default: 0)")
    factors.add_argument("--format", help="factors, reconstructed, … (default: factors)")
    factors.add_argument("--dtype", help="number type of the factors (default: each weight's own)")
    factors.add_argument(
        "--override",
        nargs="+",
        action="append",
        default=[],
        metavar=("GLOB", "KEY=VALUE"),
        help="other options for the layers of this name in memory, "
        "such as: --override 'model.layers.{0..3}.*' block=128 iterations=300",
    )
    running = parser.add_argument_group("running")
    running.add_argument(
        "--threads", type=threads, default=0, metavar="N", help="0 for one a core, with --ray for one a task"
    )
    running.add_argument("--work", type=Path, metavar="DIR", help="folder of the hidden states (default: OUT.work)")
    running.add_argument("--resume", action="store_true", help="go on with what was begun")
    running.add_argument("--dry-run", action="store_true", help="print what would become of every tensor, and end")
    running.add_argument("--trust-remote-code", action="store_true", help="run the code that MODEL brings")
    cluster = parser.add_argument_group("on Ray")
    cluster.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="do the work in tasks of the cluster there, or auto; without an address on a Ray of this machine's own",
    )
    for name, kind, default, what in (
        ("--workers", positive, 2, "without ADDRESS: tasks at a time"),
        ("--retries", not_negative, 3, "how often a task may lose its worker"),
    ):
        cluster.add_argument(name, type=kind, default=default, metavar="N", help=f"{what} (default: %(default)s)")


def run(options: argparse.Namespace) -> None:
    """Compresses."""
    if options.ray is not None:
        import ray  # noqa: F401 - where it is missing, that is told before anything is done

        options.threads = options.threads or 1
    from armor_core.calibration.output import obstacle
    from armor_core.compression.compress import compress
    from armor_core.compression.overrides import Override
    from armor_core.compression.sequences import Text

    try:
        for given in options.text:
            Text.parse(given).check()
        overrides = [Override.parse(given) for given in options.override]
    except ValueError as error:
        raise UsageError(str(error)) from error
    options.override = overrides
    out = options.out.resolve()
    work = options.work.resolve() if options.work else out.with_name(f"{out.name}.work")
    if work == out or work in out.parents or out in work.parents:
        raise UsageError(f"--work: {work} and OUT, {out}, are one folder or one lies in the other; choose two apart")
    options.work = options.work or work
    for name, path in (("OUT", options.out), ("--work", options.work)):
        problem = obstacle(path, folder=True)
        if problem is None and not options.resume and not options.dry_run and path.is_dir() and any(path.iterdir()):
            problem = f"{path} holds files already: choose another folder, or go on with --resume"
        if problem is not None:
            raise UsageError(f"{name}: {problem}")
    if options.ray is not None:  # workers run in folders of their own
        for name in ("model", "out", "work"):
            setattr(options, name, getattr(options, name).resolve())
    compress(options)
