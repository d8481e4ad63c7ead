"""Compares the predictions of language models on windows of a text."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import transformers

    from armor_core.evaluation.texts import Piece

PIECE = "window"
# Logits of so many positions at a time are held in f64.
POSITIONS_AT_ONCE = 64


@dataclasses.dataclass
class Comparison:
    """Sums over predicted tokens: of negative log-probabilities, of positions that agree, and of KL divergences."""

    tokens: int = 0
    loss: float = 0.0
    dense_loss: float = 0.0
    agreed: int = 0
    divergence: float = 0.0

    def __add__(self, other: Comparison) -> Comparison:
        """The sums over both."""
        ours, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return Comparison(*(a + b for a, b in zip(ours, theirs)))

    def measures(self) -> dict[str, float]:
        """The means: perplexities, the difference of their logarithms, agreement, and KL divergence in nats."""
        return {
            "tokens": self.tokens,
            "perplexity": exponential(self.loss / self.tokens),
            "dense_perplexity": exponential(self.dense_loss / self.tokens),
            "log_ratio": (self.loss - self.dense_loss) / self.tokens,
            "agreement": self.agreed / self.tokens,
            "kl": self.divergence / self.tokens,
        }


def exponential(value: float) -> float:
    """e to a number, or infinity."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def run(model: transformers.PreTrainedModel, window: Piece) -> torch.Tensor:
    """The logits of a window, (tokens, vocabulary)."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([window.tokens], device=model.device), use_cache=False).logits[0]


def compare(dense: torch.Tensor, other: torch.Tensor, window: Piece) -> Comparison:
    """Compares the logits of two models, (tokens, vocabulary) each, on a window.

    Each token counts that another stands before, but for those that the tokenizer has put first.
    """
    if dense.shape != other.shape:
        raise ValueError(f"the vocabularies differ: {dense.shape[-1]} and {other.shape[-1]} tokens")
    total = Comparison()
    for begin in range(max(window.own, 1), len(window.tokens), POSITIONS_AT_ONCE):
        targets = torch.tensor(window.tokens[begin : begin + POSITIONS_AT_ONCE], device=dense.device)
        rows = slice(begin - 1, begin - 1 + len(targets))
        ours, theirs = (logits[rows].double().log_softmax(-1) for logits in (dense, other))
        loss, dense_loss = (-logs.gather(1, targets[:, None]).sum().item() for logs in (theirs, ours))
        agreed = (ours.argmax(-1) == theirs.argmax(-1)).sum().item()
        # Where the dense model gives a token no chance at all, it does not count, whatever the other gives.
        terms = torch.where(ours.isneginf(), 0, ours.exp() * (ours - theirs))
        total += Comparison(len(targets), loss, dense_loss, agreed, terms.sum().item())
    if math.isnan(total.loss + total.dense_loss):
        raise ValueError(f"the logits of the {'dense' if math.isnan(total.dense_loss) else 'other'} model hold NaN")
    return total
