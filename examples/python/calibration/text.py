"""Cuts a text into the sequences that a model is run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

START = 200


def first_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens that the tokenizer puts before a text, such as BOS."""
    plain = tokenizer(text[:START], add_special_tokens=False).input_ids
    whole = tokenizer(text[:START]).input_ids
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    return []


def sequences(tokenizer: PreTrainedTokenizerBase, text: str, tokens: int, length: int) -> list[list[int]]:
    """Cuts the first `tokens` tokens of a text into sequences of at most `length`, the last one shorter.

    Each begins with the tokens that the tokenizer puts before a text; they count to `length`, but not to `tokens`.
    """
    first = first_tokens(tokenizer, text)
    step = length - len(first)
    if step < 1:
        raise ValueError(f"--sequence: {length} leaves no room after the tokenizer's {len(first)} first tokens")
    numbers = tokenizer(text, add_special_tokens=False, verbose=False).input_ids[:tokens]
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
