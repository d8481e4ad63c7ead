#!/usr/bin/env python3
"""Collects the Hessians of a model's linear layers, H = (1/N) Σ x xᵀ over N tokens, as a safetensors file.

    python3 calibrate.py --model DIR --text book.txt --out hessians.safetensors
    python3 calibrate.py --activations DIR --out hessians.safetensors

The first runs a Hugging Face model on a text, and watches what goes into its `torch.nn.Linear` modules. The second
needs numpy alone: it reads inputs that something else has stored, DIR/NAME.npy or any number of DIR/NAME/*.npy for the
module NAME, each (..., k). Both write, for each weight T.weight, T.hessian_diag [k] or, with --kind full, T.hessian
[k, k].
"""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import armor
import numpy as np
from safetensors.numpy import save_file
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch

SUFFIXES = {"diagonal": "hessian_diag", "full": "hessian"}
TOKENS_AT_ONCE = 8192


class Watcher:
    """Accumulates what goes into linear modules while the model runs; use it in a `with`.

    Modules that are handed the very same tensor one after the other, as q_proj, k_proj and v_proj are, share one
    accumulator: `owner` maps each module's name to that of the first.
    """

    def __init__(self, modules: dict[str, torch.nn.Linear], kind: str = "diagonal") -> None:
        self.accumulators: dict[str, armor.Accumulator] = {}
        self.owner: dict[str, str] = {}
        self._modules, self._kind, self._handles = modules, kind, []
        self._last: tuple[torch.Tensor | None, int, str] = (None, 0, "")

    def __enter__(self) -> Watcher:
        for name, module in self._modules.items():

            def hook(_module: torch.nn.Module, args: tuple, kwargs: dict[str, Any], name: str = name) -> None:
                self._watch(name, args[0] if args else kwargs["input"])

            self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._last = (None, 0, "")

    def _watch(self, name: str, inputs: torch.Tensor) -> None:
        """Adds a module's inputs, (..., k), unless they have just been added for another."""
        last, version, first = self._last
        # A tensor that was written to since is another one; those of inference mode do not tell.
        same = inputs is last and not inputs.is_inference() and inputs._version == version
        owner = first if same and first != name else name
        if self.owner.setdefault(name, owner) != owner:
            raise RuntimeError(f"{name}: shares its input with {self.owner[name]} in some calls and not in others")
        if owner != name:
            return
        self._last = (inputs, 0 if inputs.is_inference() else inputs._version, name)
        if name not in self.accumulators:
            self.accumulators[name] = armor.Accumulator(inputs.shape[-1], self._kind)
        add(self.accumulators[name], name, inputs.detach().float().cpu().numpy())


def add(accumulator: armor.Accumulator, name: str, inputs: np.ndarray) -> None:
    """Adds a module's inputs, (..., k); an error tells whose they were."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    for start in range(0, len(rows), TOKENS_AT_ONCE):
        try:
            accumulator.add(rows[start : start + TOKENS_AT_ONCE])
        except (ValueError, armor.ArmorError) as error:
            raise ValueError(f"{name}: from token {start} on: {error}") from error


def linear_modules(model: torch.nn.Module, include: list[str], exclude: list[str]) -> dict[str, torch.nn.Linear]:
    """The linear modules of a model that match a glob of `include` and none of `exclude`, by name."""
    import torch

    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    for glob in include:
        if not any(fnmatchcase(name, glob) for name in linear):
            raise ValueError(f"--include {glob}: matches none of the {len(linear)} linear modules")
    return {name: module for name, module in linear.items() if selected(name, include, exclude)}


def selected(name: str, include: list[str], exclude: list[str]) -> bool:
    """Whether a name matches a glob of `include` and none of `exclude`."""
    return any(fnmatchcase(name, glob) for glob in include) and not any(fnmatchcase(name, glob) for glob in exclude)


def hessians(watcher: Watcher, share: bool) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors to write, and, where `share` leaves out those that equal another's, the aliases to find them by."""
    tensors, aliases = {}, {}
    computed = {name: accumulator.hessian() for name, accumulator in watcher.accumulators.items()}
    for name, owner in watcher.owner.items():
        alias = component(name, owner) if share and name != owner else None
        if alias and aliases.get(alias[0], alias[1]) == alias[1]:
            aliases[alias[0]] = alias[1]
        else:
            tensors[f"{name}.{SUFFIXES[watcher._kind]}"] = computed[owner]
    return tensors, aliases


def component(name: str, owner: str) -> tuple[str, str] | None:
    """The one component in which two names differ, in each; None where they differ in more."""
    ours, theirs = name.split("."), owner.split(".")
    different = [pair for pair in zip(ours, theirs) if pair[0] != pair[1]]
    return different[0] if len(ours) == len(theirs) and len(different) == 1 else None


def batches(folder: Path, text: Path, tokens: int, sequence: int) -> list[torch.Tensor]:
    """Cuts a text into sequences of token numbers, each [1, sequence], at most `tokens` in all."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text.read_text(encoding="utf-8"), return_tensors="pt", truncation=False).input_ids[:, :tokens]
    if ids.shape[1] == 0:
        raise ValueError(f"{text}: holds no token")
    return list(ids.split(sequence, dim=1))


def from_model(options: argparse.Namespace) -> Iterator[tuple[dict[str, np.ndarray], dict[str, str]]]:
    """Runs the model on the text, once a pass; gives what each pass has collected."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise SystemExit(f"--model needs PyTorch and transformers ({error}); --activations does not") from error
    pieces = batches(options.model, options.text, options.tokens, options.sequence)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=options.dtype).to(options.device)
    modules = linear_modules(model.eval(), options.include, options.exclude)
    names = list(modules)
    for part in np.array_split(np.arange(len(names)), options.passes):
        watched = {names[index]: modules[names[index]] for index in part}
        with Watcher(watched, options.kind) as watcher, torch.no_grad():
            for piece in tqdm(pieces, desc=f"{len(watched)} layers", unit="sequence"):
                model(input_ids=piece.to(options.device), use_cache=False)
        for name in watched.keys() - watcher.owner.keys():
            print(f"{name}: no token reached it; it gets no Hessian", file=sys.stderr)
        yield hessians(watcher, options.share)


def from_activations(options: argparse.Namespace) -> Iterator[tuple[dict[str, np.ndarray], dict[str, str]]]:
    """Reads stored inputs, a module after the other."""
    dumps = {path.stem: [path] for path in options.activations.glob("*.npy")}
    for path in options.activations.iterdir():
        if path.is_dir():
            dumps.setdefault(path.name, []).extend(sorted(path.glob("*.npy")))
    names = [name for name in sorted(dumps) if dumps[name] and selected(name, options.include, options.exclude)]
    if not names:
        raise ValueError(f"{options.activations}: holds no NAME.npy or NAME/*.npy that is selected")
    for part in np.array_split(np.arange(len(names)), options.passes):
        tensors = {}
        for index in tqdm(part, unit="layer"):
            accumulated = accumulate(names[index], dumps[names[index]], options.kind)
            tensors[f"{names[index]}.{SUFFIXES[options.kind]}"] = accumulated.hessian()
        yield tensors, {}


def accumulate(name: str, paths: list[Path], kind: str) -> armor.Accumulator:
    """Accumulates a module's stored inputs, each file (..., k)."""
    accumulator = None
    for path in paths:
        inputs = np.load(path, mmap_mode="r")
        accumulator = accumulator or armor.Accumulator(inputs.shape[-1], kind)
        add(accumulator, f"{name} ({path})", inputs)
    return accumulator


def write(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes a safetensors file under another name and renames it, so that it is never half there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    save_file(tensors, unfinished)
    unfinished.replace(path)


def write_all(options: argparse.Namespace, parts: Iterable[tuple[dict[str, np.ndarray], dict[str, str]]]) -> None:
    """Writes what each pass has collected: one file, or, of several passes, one each in a folder."""
    aliases: dict[str, str] = {}
    for number, (tensors, shared) in enumerate(parts, 1):
        name = f"hessians-{number:05}-of-{options.passes:05}.safetensors"
        path = options.out if options.passes == 1 else options.out / name
        write(path, tensors)
        aliases.update(shared)
        print(f"{path}: {len(tensors)} Hessians, {sum(tensor.nbytes for tensor in tensors.values())} bytes")
    if aliases:
        print("--alias " + ",".join(f"{name}={owner}" for name, owner in sorted(aliases.items())))


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Reads and checks the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, help="folder of a Hugging Face model for causal language modelling")
    source.add_argument("--activations", type=Path, help="folder of inputs, NAME.npy or NAME/*.npy")
    parser.add_argument("--text", type=Path, help="with --model: the text to run it on, UTF-8")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file; with several passes, a folder")
    parser.add_argument("--kind", choices=SUFFIXES, default="diagonal", help="what to collect (default: %(default)s)")
    parser.add_argument("--include", nargs="+", default=["*"], metavar="GLOB", help="modules (default: all)")
    parser.add_argument("--exclude", nargs="*", default=["lm_head"], metavar="GLOB", help="but not (default: lm_head)")
    parser.add_argument("--tokens", type=int, default=65536, help="how much of the text (default: %(default)s)")
    parser.add_argument("--sequence", type=int, default=2048, help="tokens of a sequence (default: %(default)s)")
    parser.add_argument("--passes", type=int, default=1, help="collect a part of the layers at a time, to save memory")
    parser.add_argument("--share", action="store_true", help="write what q, k and v share once, and say the aliases")
    parser.add_argument("--device", default="cpu", help="PyTorch's device (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", help="of the model's weights (default: as they are stored)")
    options = parser.parse_args(given)
    if (options.model is None) != (options.text is None):
        parser.error("--model and --text go together")
    for name in ("tokens", "sequence", "passes"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: {getattr(options, name)} is below 1")
    for name in ("model", "activations"):
        folder = getattr(options, name)
        if folder is not None and not folder.is_dir():
            parser.error(f"--{name}: {folder} is no folder")
    if options.text is not None and not options.text.is_file():
        parser.error(f"--text: {options.text} is no file")
    return options


def main() -> None:
    """Collects and writes."""
    options = arguments()
    try:
        write_all(options, (from_model if options.model else from_activations)(options))
    except (OSError, ValueError, RuntimeError) as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from error


if __name__ == "__main__":
    main()
