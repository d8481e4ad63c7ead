"""Cuts texts into what a model is run on: windows of language models, lines of encoders."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from armor_core.calibration.text import decoded, first_tokens, sequences

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase


@dataclasses.dataclass
class Piece:
    """The tokens of a window or of a line, with the tokenizer's own: of a window the first `own` ones."""

    tokens: list[int]
    own: int = 0
    line: str = ""


@dataclasses.dataclass
class Text:
    """A text and its pieces; `available` tokens or lines are in it, and `cut` lines were too long."""

    path: Path
    pieces: list[Piece]
    available: int
    cut: int = 0


def windows(path: Path, tokenizer: PreTrainedTokenizerBase, most: int, length: int) -> Text:
    """The windows of a text, each with the tokenizer's first tokens and up to `length` tokens, of at most `most`."""
    words = decoded(path, path.read_bytes())
    numbers = tokenizer(words, add_special_tokens=False, verbose=False).input_ids
    if len(numbers) < 2:
        raise ValueError(f"--text: {path} is shorter than two tokens")
    first = first_tokens(tokenizer, words)
    made = [Piece(window, len(first)) for window in sequences(numbers[:most], first, length)]
    pieces = [piece for piece in made if len(piece.tokens) > max(piece.own, 1)]
    if not pieces:
        raise ValueError(f"--text: {path}: --tokens {most} and windows of {length} leave no token to predict")
    return Text(path, pieces, len(numbers))


def lines(path: Path, tokenizer: PreTrainedTokenizerBase, most: int, length: int) -> Text:
    """The lines of a text that are not empty, cut to `length` tokens, until they have `most` tokens."""
    found = [line.strip() for line in decoded(path, path.read_bytes()).splitlines() if line.strip()]
    if not found:
        raise ValueError(f"--text: {path} holds no line that is not empty")
    text, total = Text(path, [], len(found)), 0
    for line in found:
        tokens = tokenizer(line, truncation=True, max_length=length, verbose=False).input_ids
        total += len(tokens)
        if text.pieces and total > most:
            break
        text.cut += len(tokens) == length and len(tokenizer(line, verbose=False).input_ids) > length
        text.pieces.append(Piece(tokens, line=line))
    return text
