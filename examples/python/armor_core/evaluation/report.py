"""Says what was measured: as a table, and as JSON."""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from armor_core.evaluation.measure import Variant
    from armor_core.evaluation.texts import Text

# The columns of the table: the key of the JSON, the heading, and how a number is printed.
COLUMNS = {
    "perplexity": ("perplexity", "{:.3f}"),
    "log_ratio": ("log ratio", "{:+.4f}"),
    "agreement": ("agreement", "{:.2%}"),
    "kl": ("KL", "{:.5f}"),
    "cosine_mean": ("mean cosine", "{:.5f}"),
    "cosine_worst": ("worst cosine", "{:.5f}"),
}


def entry(variant: Variant, dense_bytes: int, texts: list[Text], sums: list[Any]) -> dict[str, Any]:
    """The measures of a variant over all texts, and those of every text."""
    room = {"bits_per_weight": variant.bits_per_weight, "bytes": variant.bytes, "dense_bytes": dense_bytes}
    total = functools.reduce(operator.add, sums)
    each = [{"text": str(text.path), **one.measures(), **room} for text, one in zip(texts, sums)]
    return finite({**total.measures(), **room, "texts": each})


def finite(value: Any) -> Any:  # noqa: ANN401 - whatever JSON has
    """A value with None for every number that JSON does not know."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(named: list[tuple[str, dict[str, Any]]]) -> Iterable[str]:
    """The lines of a table: for every text, and for all of them together, what each variant has lost."""
    first = named[0][1]
    places = [
        (part["text"], [(name, entry["texts"][index]) for name, entry in named])
        for index, part in enumerate(first["texts"])
    ]
    if len(places) > 1:
        places.append(("all texts", named))
    width = max(len(name) for name, _ in [*named, ("dense", None)])
    keys = [key for key in COLUMNS if key in first]
    for place, rows in places:
        count = f"{rows[0][1]['tokens']:,} tokens" if "tokens" in first else f"{rows[0][1]['lines']:,} lines"
        yield ""
        yield f"{place}: {count}"
        yield "  ".join([" " * width, "bits a weight", *(f"{COLUMNS[key][0]:>12}" for key in keys)])
        if "dense_perplexity" in first:
            yield row("dense", width, None, [cell("perplexity", rows[0][1]["dense_perplexity"])])
        for name, values in rows:
            yield row(name, width, values["bits_per_weight"], [cell(key, values[key]) for key in keys])


def row(name: str, width: int, bits: float | None, cells: list[str]) -> str:
    """A line of the table."""
    return "  ".join([f"{name:<{width}}", f"{bits:>13.3f}" if bits is not None else " " * 13, *cells]).rstrip()


def cell(key: str, value: float | None) -> str:
    """A number of the table."""
    return f"{'infinite' if value is None else COLUMNS[key][1].format(value):>12}"
