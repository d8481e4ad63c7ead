"""Reads the texts that a model is calibrated on, and cuts them into sequences of equal length.

A text is a file of plain text, or a .jsonl file of chats, one a line: {"messages": [{"role": …, "content": …}, …]}.
Chats are brought to text by the tokenizer's chat template. Several texts are mixed by their weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from armor_core.calibration.text import decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from armor_core.calibration.text import Frame

MOST_BYTES = 64 << 20
LEAST_WEIGHT, MOST_WEIGHT = 1e-9, 1e9


@dataclasses.dataclass(frozen=True)
class Text:
    """A file with its share of the sequences, relative to those of other texts."""

    path: Path
    weight: float

    @classmethod
    def parse(cls, given: str) -> Text:
        """Reads PATH or PATH:WEIGHT."""
        start, _, end = given.rpartition(":")
        if start and not Path(given).exists():
            try:
                weight = float(end)
            except ValueError:
                pass
            else:
                if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
                    raise ValueError(
                        f"--text {given}: the weight {end} is not from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}"
                    )
                return cls(Path(start), weight)
        return cls(Path(given), 1.0)

    def check(self) -> None:
        """Refuses what is no file, before a model is loaded for it."""
        if not self.path.exists():
            raise ValueError(f"--text: {self.path} is not there")
        if not self.path.is_file():  # a pipe could be read but once
            raise ValueError(f"--text: {self.path} is a folder, a pipe or a device, expected a file")

    def sha256(self) -> str:
        """The digest of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def numbers(self, tokenizer: PreTrainedTokenizerBase, say: Callable[[str], None]) -> list[int]:
        """The tokens of the file, without those that the tokenizer puts around a text."""
        data = self.path.read_bytes()
        if len(data) > MOST_BYTES:
            say(f"{self.path}: the first {MOST_BYTES >> 20} MiB are read, of {len(data) >> 20}")
            data = whole_start(data)
        words = decoded(self.path, data)
        if self.path.suffix == ".jsonl":
            # not splitlines(): a string of JSON may hold what that takes for the end of a line, such as U+2028
            words = "".join(
                chat(tokenizer, self.path, number, line) for number, line in enumerate(words.split("\n"), 1)
            )
        return tokenizer(words, add_special_tokens=False, verbose=False).input_ids


def whole_start(data: bytes) -> bytes:
    """The first `MOST_BYTES` bytes, up to the end of a line; if no line ends there, of a character."""
    start = data[:MOST_BYTES]
    if b"\n" in start:
        return start.rsplit(b"\n", 1)[0]
    end = MOST_BYTES
    while end and data[end] & 0xC0 == 0x80:  # a byte that continues a character of UTF-8
        end -= 1
    return start[:end]


def chat(tokenizer: PreTrainedTokenizerBase, path: Path, number: int, line: str) -> str:
    """A line of a file of chats as the model is given it."""
    if not line.strip():
        return ""
    try:
        found = json.loads(line)
        messages = found["messages"] if isinstance(found, dict) else found
        if not isinstance(messages, list):
            raise ValueError("expected a list of messages")
        return tokenizer.apply_chat_template(messages, tokenize=False)
    except KeyError as error:
        raise ValueError(f"--text: {path}: line {number}: has no key {error}") from error
    except Exception as error:
        raise ValueError(f"--text: {path}: line {number}: {error}") from error


def shares(weights: Sequence[float], count: int) -> list[int]:
    """Divides `count` among weights by largest remainder; each gets at least one."""
    exact = [count * weight / sum(weights) for weight in weights]
    given = [max(1, int(share)) for share in exact]
    order = sorted(range(len(exact)), key=lambda index: (int(exact[index]) - exact[index], index))
    for index in order[: max(0, count - sum(given))]:
        given[index] += 1
    return given


def spread(pieces: list[list[int]], count: int) -> list[list[int]]:
    """Takes `count` pieces from all over the list; all of them where there are no more."""
    count = min(count, len(pieces))
    return [pieces[(2 * index + 1) * len(pieces) // (2 * count)] for index in range(count)]


def make_sequences(
    texts: list[Text],
    tokenizer: PreTrainedTokenizerBase,
    frame: Frame,
    size: tuple[int, int],
    say: Callable[[str], None],
) -> list[list[int]]:
    """The texts as sequences of equal length, from all over each text; `size` is (tokens in all, tokens of a sequence).

    Where a text is shorter than that, all sequences are as long as the shortest text.
    """
    tokens, length = size
    numbers = [text.numbers(tokenizer, say) for text in texts]
    for text, found in zip(texts, numbers):
        if len(found) < 2:
            raise ValueError(f"--text: {text.path} holds {len(found)} tokens, expected 2 or more")
    room = length - len(frame.before) - len(frame.after)
    if room < 1:
        raise ValueError(f"--sequence: {length} leaves no room beside the tokenizer's own tokens")
    shortest = min(map(len, numbers))
    if shortest < room:
        say(f"the sequences have {shortest} tokens of text instead of {room}: the shortest text has no more")
        room, length = shortest, length - room + shortest
    count = max(len(texts), round(tokens / length))
    if count * length > tokens + length / 2:
        say(f"--tokens: {count * length} instead of {tokens}, so that every text has a sequence of {length}")
    made = []
    wanted = shares([text.weight for text in texts], count)
    for text, found, count in zip(texts, numbers, wanted):
        pieces = [found[start : start + room] for start in range(0, len(found) - room + 1, room)]
        if len(pieces) < count:
            say(f"{text.path}: holds {len(pieces)} of the {count} sequences that are its share")
        made += [[*frame.before, *piece, *frame.after] for piece in spread(pieces, count)]
    return made
