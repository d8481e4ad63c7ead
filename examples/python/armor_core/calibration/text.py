"""Cuts a text into the sequences that a model is run on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
import transformers

from armor_core.commands.terminal import say

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PretrainedConfig, PreTrainedTokenizerBase

START = 200
# What models call the length of their context; that of most is found under the first name, whatever they call it.
CONTEXT_LENGTHS = ("max_position_embeddings", "max_seq_len", "max_sequence_length", "n_positions", "seq_length")
# Without one of these transformers makes up a tokenizer that knows no words.
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")


def tokenizer_of(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a model's folder, which may have files of other names where the folder brings its own code."""
    if not trust_remote_code and not any((folder / name).is_file() for name in TOKENIZERS):
        raise ValueError(f"{folder}: holds no tokenizer ({', '.join(TOKENIZERS)})")
    return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)


def check_tokens(folder: Path, model: transformers.PreTrainedModel, sequences: list[list[int]]) -> None:
    """Refuses tokens that the model does not know."""
    rows, largest = model.get_input_embeddings().weight.shape[0], max(map(max, sequences))
    if largest >= rows:
        raise ValueError(f"{folder}: the tokenizer gives token {largest}, and the model knows {rows} tokens")


@dataclasses.dataclass(frozen=True)
class Frame:
    """The tokens that a tokenizer puts before a text and after it, such as BOS and EOS, or [CLS] and [SEP]."""

    before: list[int]
    after: list[int]


def frame(tokenizer: PreTrainedTokenizerBase, text: str) -> Frame:
    """The tokens that the tokenizer puts around a text."""
    plain = tokenizer(text[:START], add_special_tokens=False).input_ids
    whole = tokenizer(text[:START]).input_ids
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return Frame(whole[:start], whole[start + len(plain) :])
    return Frame([], [])


def first_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens that the tokenizer puts before a text, such as BOS."""
    return frame(tokenizer, text).before


def decoded(path: Path, data: bytes) -> str:
    """The text of a file in UTF-8, without a byte order mark, its lines ended by a line feed alone."""
    try:
        return data.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"--text: {path} is not UTF-8, from byte {error.start} on: {error.reason}") from error


def within_context(length: int, config: PretrainedConfig) -> int:
    """The option --sequence, cut to the context length of the model, which is said."""
    context = context_length(config)
    if context is None or length <= context:
        return length
    say(f"--sequence: {length} is cut to {context}, the context length of the model")
    return context


def context_length(config: PretrainedConfig) -> int | None:
    """The most tokens of a sequence that a model is made for, if its configuration tells."""
    text = config.get_text_config()
    lengths = (getattr(text, name, None) for name in CONTEXT_LENGTHS)
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)


def sequences(numbers: list[int], first: list[int], length: int) -> list[list[int]]:
    """Cuts the tokens of a text into sequences of at most `length`, the last one shorter.

    Each begins with the tokens `first`, those that the tokenizer puts before a text; they count to `length`.
    """
    step = length - len(first)
    if step < 1:
        raise ValueError(f"--sequence: {length} leaves no room after the tokenizer's {len(first)} first tokens")
    return [first + numbers[start : start + step] for start in range(0, len(numbers), step)]


def batches(pieces: list[list[int]], size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pads `size` sequences at a time at their ends: token numbers and attention mask, each (batch, sequence)."""
    made = []
    for start in range(0, len(pieces), size):
        part = pieces[start : start + size]
        length = max(map(len, part))
        # Any token will do for padding: the mask keeps it from counting.
        numbers = [piece + piece[:1] * (length - len(piece)) for piece in part]
        mask = [[1] * len(piece) + [0] * (length - len(piece)) for piece in part]
        made.append((torch.tensor(numbers), torch.tensor(mask)))
    return made
