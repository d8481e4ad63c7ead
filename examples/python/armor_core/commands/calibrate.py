"""Collects the Hessians of a model's layers, H = (1/N) Σ x xᵀ over N tokens, as a safetensors file.

    armor-core calibrate --model DIR --text book.txt --out hessians.safetensors
    armor-core calibrate --activations DIR --out hessians.safetensors

The first runs a Hugging Face model on a text, and observes what goes into its linear layers and experts. The second
needs neither PyTorch nor transformers: it reads inputs that something else has stored, DIR/NAME.npy or any number of
DIR/NAME/*.npy for the layer NAME, each (..., k). Both write, for each weight T.weight or T on disk, T.hessian_diag [k]
or, with --kind full, T.hessian [k, k], and T.tokens [1], the number of tokens. Experts that lie on disk in one tensor
have theirs stacked in the same way. The first writes T.transposed [1] as well: 1 where the weight is stored as [in,
out], 0 where it is [out, in]. The standard error output lists what is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from armor_core.accumulator import Accumulator
from armor_core.calibration.choice import check_globs, selected, summary
from armor_core.calibration.output import SUFFIXES, Hessians, Stored, add, hessians, obstacle, write
from armor_core.commands.arguments import UsageError, file, folder, positive
from armor_core.commands.terminal import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    import torch
    import transformers

    from armor_core.calibration.layers import Layer
    from armor_core.calibration.watch import Watcher

LISTED = 20
PROBED = 8


def read(options: argparse.Namespace, model: transformers.PreTrainedModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The text as batches of token numbers and attention masks, cut to the context length of the model."""
    from armor_core.calibration.text import batches, decoded, first_tokens, sequences, tokenizer_of, within_context

    words = decoded(options.text, options.text.read_bytes())
    tokenizer = tokenizer_of(options.model)
    numbers = tokenizer(words, add_special_tokens=False, verbose=False).input_ids[: options.tokens]
    if not numbers:
        raise ValueError(f"--text: {options.text} holds no token")
    if len(numbers) < options.tokens:
        say(f"the text has {len(numbers)} tokens, fewer than --tokens {options.tokens}")
    length = within_context(options.sequence, model.config)
    return batches(sequences(numbers, first_tokens(tokenizer, words), length), options.batch)


def choose(options: argparse.Namespace, model: transformers.PreTrainedModel) -> dict[str, Layer]:
    """The layers to calibrate; says which are left out."""
    from armor_core.calibration.layers import find_layers

    layers, left_out = find_layers(model, options.include, options.exclude, everything=options.head_and_routers)
    for reason in sorted(set(left_out.values())):
        say(f"left out, {reason}: {summary(name for name in left_out if left_out[name] == reason)}")
    if not layers:
        raise ValueError("no layer of the model is left to calibrate")
    return layers


def probe(
    options: argparse.Namespace, model: transformers.PreTrainedModel, layers: dict[str, Layer], pieces: list
) -> None:
    """Runs the model on a few tokens, so that what cannot be observed is refused before the text is run.

    Removes the experts that are not reached: how their weights are stored is not known.
    """
    import torch

    from armor_core.calibration.watch import Watcher

    if options.all_experts and not any(layer.experts for layer in layers.values()):
        raise ValueError("--all-experts: the model keeps no experts in three-dimensional parameters")
    tokens = pieces[0][0][:1, :PROBED].to(options.device)
    mask = torch.ones_like(tokens)
    with Watcher(layers, all_experts=options.all_experts) as watcher, torch.no_grad():
        run_batch(model, watcher, tokens, mask)
        if not all(mask.all() for _, mask in pieces):
            mask[:, -1] = 0
            run_batch(model, watcher, tokens, mask)
    if not watcher.accumulators:
        raise ValueError(f"no token reached any of the layers: {summary(layers)}")
    unused = [name for name, layer in layers.items() if layer.transposed is None]
    if unused:
        say(f"no Hessian, since no token reached it: {summary(unused)}")
        for name in unused:
            del layers[name]


def run_batch(model: transformers.PreTrainedModel, watcher: Watcher, tokens: torch.Tensor, mask: torch.Tensor) -> None:
    """Runs the model on a batch without counting its padding."""
    if mask.all():
        model(input_ids=tokens, use_cache=False)
    else:
        with watcher.mask(mask):
            model(input_ids=tokens, attention_mask=mask, use_cache=False)


def find_on_disk(options: argparse.Namespace, layers: dict[str, Layer]) -> list[Stored]:
    """The weights on disk of the layers; says which have none."""
    from armor_core.calibration.names import Checkpoint, match

    stored, unmatched = match(layers, Checkpoint(options.model))
    if unmatched:
        lines = ["  in memory  |  most similar on disk, with other values or another shape"]
        lines += [f"  {ours}  |  {theirs}" for ours, theirs in unmatched[:LISTED]]
        lines += [f"  and {len(unmatched) - LISTED} more"] if len(unmatched) > LISTED else []
        table = "\n".join(lines)
        if not stored:
            raise ValueError(f"no layer of the model was found in its files:\n{table}")
        say(f"warning: {len(unmatched)} weights were not found in the files of the model and get no Hessian:\n{table}")
    return stored


def from_model(options: argparse.Namespace) -> Iterator[Hessians]:
    """Runs the model on the text, once a pass; gives what each pass has collected."""
    import torch

    from armor_core.calibration.watch import Watcher
    from armor_core.model.load import load_dense

    model = load_dense(options.model, options.dtype, options.device)
    layers = choose(options, model)
    pieces = read(options, model)
    probe(options, model, layers, pieces)
    stored = find_on_disk(options, layers)
    passes = min(options.passes, len(stored))
    for number in range(passes):
        part = stored[len(stored) * number // passes : len(stored) * (number + 1) // passes]
        watched = {name: layers[name] for weight in part for name in weight.layers}
        with Watcher(watched, options.kind, all_experts=options.all_experts) as watcher, torch.no_grad():
            for tokens, mask in tqdm(pieces, desc=f"{len(watched)} layers", unit="batch"):
                run_batch(model, watcher, tokens.to(options.device), mask.to(options.device))
        yield hessians(watcher.accumulators, watcher.owner, part, options.kind, share=options.share)


def from_activations(options: argparse.Namespace) -> Iterator[Hessians]:
    """Reads stored inputs, a layer after the other."""
    dumps = {path.stem: [path] for path in options.activations.glob("*.npy")}
    for path in options.activations.iterdir():
        if path.is_dir():
            dumps.setdefault(path.name, []).extend(sorted(path.glob("*.npy")))
    found = sorted(name for name in dumps if dumps[name])
    if not found:
        raise ValueError(f"{options.activations}: holds no NAME.npy or NAME/*.npy")
    check_globs(found, options.include, options.exclude)
    names = [name for name in found if selected(name, options.include, options.exclude)]
    if not names:
        raise ValueError(f"{options.activations}: no layer is left to calibrate")
    for part in np.array_split(np.arange(len(names)), options.passes):
        sums = {}
        for name in (names[index] for index in tqdm(part, unit="layer")):
            sums[name] = accumulate(name, dumps[name], options.kind)
        yield hessians(sums, {}, [Stored(name, [name]) for name in sums], options.kind)


def accumulate(name: str, paths: list[Path], kind: str) -> Accumulator:
    """Accumulates a layer's stored inputs, each file (..., k)."""
    accumulator = None
    for path in paths:
        inputs = np.load(path, mmap_mode="r")
        accumulator = accumulator or Accumulator(inputs.shape[-1], kind)
        add(accumulator, f"{name} ({path})", inputs)
    return accumulator


def write_all(options: argparse.Namespace, parts: Iterable[Hessians]) -> None:
    """Writes what each pass has collected: one file, or, of several passes, one each in a folder."""
    count, aliases = 0, {}
    for number, part in enumerate(parts, 1):
        if part.unreached:
            say(f"no Hessian, since no token reached it: {summary(part.unreached)}")
        if part.idle:
            say(f"no Hessian, or zeros in a stack, since no token reached the expert: {', '.join(part.idle)}")
        if part.scarce and options.kind == "full":
            names = ", ".join(part.scarce) if len(part.scarce) <= LISTED else summary(part.scarce)
            say(f"warning: fewer tokens than inputs, so H is singular: {names}")
        if len(part) == 0:
            continue
        count += len(part)
        name = f"hessians-{number:05}-of-{options.passes:05}.safetensors"
        path = options.out if options.passes == 1 else options.out / name
        write(path, part.tensors)
        aliases.update(part.aliases)
        print(f"{path}: {len(part)} Hessians, {sum(tensor.nbytes for tensor in part.tensors.values())} bytes")
    if count == 0:
        raise ValueError("no token reached any of the layers, so there is no Hessian to write")
    if aliases:
        print("--alias " + ",".join(f"{name}={owner}" for name, owner in sorted(aliases.items())))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--model", type=folder, metavar="DIR", help="folder of a Hugging Face model for causal language modelling"
    )
    source.add_argument("--activations", type=folder, metavar="DIR", help="folder of inputs, NAME.npy or NAME/*.npy")
    parser.add_argument("--text", type=file, metavar="FILE", help="with --model: the text to run it on, UTF-8")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PATH", help="safetensors file; with several passes, a folder"
    )
    parser.add_argument("--kind", choices=SUFFIXES, default="diagonal", help="what to collect (default: %(default)s)")
    parser.add_argument(
        "--include", nargs="+", default=["*"], metavar="GLOB", help="layers, by their names in memory (default: all)"
    )
    parser.add_argument("--exclude", nargs="*", default=[], metavar="GLOB", help="but not (default: none)")
    parser.add_argument(
        "--head-and-routers",
        action="store_true",
        help="calibrate the output head, routers and layers of one output too",
    )
    parser.add_argument("--all-experts", action="store_true", help="let every token count for every expert")
    for name, default, what in (
        ("--tokens", 65536, "how much of the text"),
        ("--sequence", 2048, "tokens of a sequence"),
        ("--batch", 1, "sequences to run at once"),
        ("--passes", 1, "collect the layers in so many parts, one after the other, to save memory"),
    ):
        parser.add_argument(name, type=positive, default=default, metavar="N", help=f"{what} (default: %(default)s)")
    parser.add_argument("--share", action="store_true", help="write what q, k and v share once, and say the aliases")
    parser.add_argument("--device", default="cpu", help="PyTorch's device (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", help="of the model's weights (default: as they are stored)")


def run(options: argparse.Namespace) -> None:
    """Collects and writes."""
    if (options.model is None) != (options.text is None):
        raise UsageError("--model and --text go together")
    problem = obstacle(options.out, folder=options.passes > 1)
    if problem is not None:
        raise UsageError(f"--out: {problem}")
    write_all(options, (from_model if options.model else from_activations)(options))
