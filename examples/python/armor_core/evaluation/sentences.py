"""Compares the sentence embeddings of encoders, the mean over a line's tokens, on the lines of a text."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import transformers

    from armor_core.evaluation.texts import Piece

PIECE = "line"


@dataclasses.dataclass
class Similarity:
    """Cosines between the embeddings of two models: their number, their sum, the least and its line."""

    lines: int
    total: float
    worst: float
    worst_line: str

    def __add__(self, other: Similarity) -> Similarity:
        """That of both."""
        worse = min(self, other, key=lambda one: one.worst)
        return Similarity(self.lines + other.lines, self.total + other.total, worse.worst, worse.worst_line)

    def measures(self) -> dict[str, float | str]:
        """The mean and the worst."""
        return {
            "lines": self.lines,
            "cosine_mean": self.total / self.lines,
            "cosine_worst": self.worst,
            "worst_line": self.worst_line,
        }


def run(model: transformers.PreTrainedModel, line: Piece) -> torch.Tensor:
    """The mean of the last hidden states over all tokens of a line, (width,) of f64."""
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([line.tokens], device=model.device)).last_hidden_state[0]
    return hidden.double().mean(0)


def compare(dense: torch.Tensor, other: torch.Tensor, line: Piece) -> Similarity:
    """The cosine between the embeddings of a line."""
    if dense.shape != other.shape:
        raise ValueError(f"the embeddings differ in width: {len(dense)} and {len(other)}")
    cosine = (dense @ other / (dense.norm() * other.norm())).clamp(-1, 1).item()
    if math.isnan(cosine):
        raise ValueError(f"an embedding is zero or holds NaN, of the line {line.line!r}")
    return Similarity(1, cosine, cosine, line.line)
