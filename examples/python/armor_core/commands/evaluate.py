"""Measures what a model has lost: predictions of OUT are compared with those of the dense MODEL on held-out texts.

    armor-core evaluate OUT --text book.txt novel.txt --against MODEL --round-to 8 4 3

OUT is a folder that a job has written, in any format, or any other folder of a Hugging Face model. Layers that are
stored as A · S · B are computed in f32 and rounded to the type that the dense model is run in.

A text is cut into windows of --sequence tokens that do not overlap. Each window begins with the tokens that the
tokenizer puts before a text, if it does, and every token that another stands before is predicted once. For every text,
and for all together, the table has
  perplexity  e to the mean negative log-probability of the predicted tokens
  log ratio   the difference of the perplexities' logarithms, OUT less MODEL: 0.01 is about 1 %
  agreement   how often both models have the same most likely token
  KL          the mean Kullback-Leibler divergence of OUT's distribution from MODEL's, in nats a token
A model without a language head, such as BERT, is compared by its sentence embeddings instead, the means over the last
hidden states of each line's tokens: the mean and the worst cosine between those of both models.

--round-to measures, beside OUT, MODEL with the same layers rounded to nearest: whole numbers of so many bits, times a
scale in f16 for every 64 inputs, which is searched for the least square error. That is what the memory of A · S · B
could be spent on instead. Where OUT has no compressed layers of its own, the linear layers of MODEL are rounded.

MODEL and one other model are in memory at a time, and the logits of one window of both. --at-once N holds N others,
and runs MODEL less often.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from armor_core.commands.arguments import UsageError, file, folder, positive
from armor_core.commands.terminal import say

if TYPE_CHECKING:
    from types import ModuleType

    import transformers

    from armor_core.evaluation.measure import Variant
    from armor_core.evaluation.texts import Text
    from armor_core.model.stored import StoredModel


DTYPES = ("auto", "float32", "bfloat16", "float16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("out", type=folder, metavar="OUT", help="folder of the compressed model")
    parser.add_argument("--text", type=file, nargs="+", required=True, metavar="FILE", help="held-out texts, UTF-8")
    parser.add_argument("--against", type=folder, required=True, metavar="MODEL", help="folder of the dense model")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to this file too")
    parser.add_argument(
        "--round-to", type=bits, nargs="+", default=[], metavar="BITS", help="compare with rounded weights, 2 to 8 bits"
    )
    for name, default, what in (
        ("--sequence", 1024, "tokens of a window, or most tokens of a line"),
        ("--tokens", 16384, "how much of each text"),
        ("--at-once", 1, "models beside the dense one in memory"),
    ):
        parser.add_argument(name, type=positive, default=default, metavar="N", help=f"{what} (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="PyTorch's device (default: %(default)s)")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="auto", help="number type to run both in (default: as MODEL is stored)"
    )


def bits(text: str) -> int:
    """A number of bits to round to."""
    number = positive(text)
    if not 2 <= number <= 8:
        raise argparse.ArgumentTypeError(f"{number} is not among 2 to 8 bits")
    return number


def read_texts(options: argparse.Namespace, kind: ModuleType, config: transformers.PretrainedConfig) -> list[Text]:
    """The texts, cut into what the models are run on; refuses tokenizers that differ."""
    from armor_core.calibration.text import tokenizer_of, within_context
    from armor_core.evaluation import language
    from armor_core.evaluation.texts import lines, windows

    length = within_context(options.sequence, config)
    cut = windows if kind is language else lines
    tokenizer, other = tokenizer_of(options.against), tokenizer_of(options.out)
    texts = []
    for path in options.text:
        text = cut(path, tokenizer, options.tokens, length)
        if text != cut(path, other, options.tokens, length):
            raise ValueError(f"the tokenizers of {options.out} and {options.against} differ: {path}")
        if cut is windows and text.available < options.tokens:
            say(f"{path}: has {text.available} tokens, fewer than --tokens {options.tokens}")
        if path.suffix == ".jsonl":
            say(f"{path}: is measured as the text that it is, without a chat template")
        if text.cut:
            say(f"{path}: {text.cut} of {len(text.pieces)} lines are cut to {length} tokens")
        texts.append(text)
    return texts


def choose(
    options: argparse.Namespace, out: StoredModel, stored: StoredModel, dense: transformers.PreTrainedModel
) -> list[Variant]:
    """The models to compare with the dense one; says which layers are taken where OUT does not tell."""
    from armor_core.calibration.choice import summary
    from armor_core.evaluation.variants import compressed, compressed_layers, linear_layers, rounded

    layers = compressed_layers(out, stored)
    if not layers and options.round_to:
        layers, others = linear_layers(stored, dense)
        say(f"{out.folder} has no compressed layers of its own; rounded are {summary(layers) or 'none'}")
        if others:
            say(f"not rounded, since they were not found on disk as they are in memory: {summary(others)}")
        if not layers:
            raise ValueError(f"--round-to: no layer of {stored.folder} is left to round")
    variants = [rounded(stored, layers, number, options.device) for number in options.round_to]
    return [compressed(out, stored, layers, options.device), *variants]


def describe(kind: ModuleType, out: StoredModel, variant: Variant, dense_bytes: int, texts: list[Text]) -> None:
    """Prints what was compared, and how."""
    from armor_core.evaluation import language

    layers = out.layer_count()
    stored = f"{layers} layers as {out.format or 'reconstructed'}" if layers else "no layers that a job compressed"
    print(f"{out.folder}: {stored}; {variant.bytes:,} bytes, the dense model {dense_bytes:,}")
    if kind is language:
        window = max((piece for text in texts for piece in text.pieces), key=lambda piece: len(piece.tokens))
        print(
            f"windows of up to {len(window.tokens)} tokens that do not overlap; the first {window.own} of each are the"
        )
        print("tokenizer's own, and every other token that one stands before is predicted once")
    else:
        print("embeddings of lines, the means over the last hidden states of their tokens")


def check_json(path: Path | None) -> None:
    """Refuses an output that cannot be written, before the models are run."""
    from armor_core.calibration.output import obstacle

    problem = obstacle(path, folder=False) if path is not None else None
    if problem is not None:
        raise UsageError(f"--json: {problem}")


def run(options: argparse.Namespace) -> None:
    """Measures and prints."""
    import transformers

    from armor_core.calibration.text import check_tokens
    from armor_core.evaluation import language, sentences
    from armor_core.evaluation.measure import measure
    from armor_core.evaluation.report import entry, table
    from armor_core.model.load import family, load
    from armor_core.model.stored import StoredModel

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    check_json(options.json)
    out, stored = StoredModel(options.out), StoredModel(options.against)
    found, wanted = family(options.out), family(options.against)
    if found.model_class is not wanted.model_class:
        raise ValueError(
            f"{options.out} is a {found.model_class.__name__}, and {options.against} a {wanted.model_class.__name__}"
        )
    kind = language if wanted.has_head else sentences
    texts = read_texts(options, kind, wanted.config)
    dense = load(stored, options.dtype, options.device)
    check_tokens(options.against, dense, [piece.tokens for text in texts for piece in text.pieces])
    variants = choose(options, out, stored, dense)
    sums = measure(kind, dense, variants, texts, options.at_once)
    size = stored.bytes()
    entries = [entry(variant, size, texts, one) for variant, one in zip(variants, sums)]
    describe(kind, out, variants[0], size, texts)
    for line in table([(variant.name, one) for variant, one in zip(variants, entries)]):
        print(line)
    if options.json is not None:
        rounded = [{"bits": variant.bits, **one} for variant, one in zip(variants[1:], entries[1:])]
        whole = {
            "out": str(options.out),
            "against": str(options.against),
            "layers": out.layer_count(),
            "sequence": options.sequence,
            "dtype": str(dense.dtype).removeprefix("torch."),
            **entries[0],
            "rounded": rounded,
        }
        options.json.write_text(json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
