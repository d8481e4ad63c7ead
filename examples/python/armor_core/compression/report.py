"""The report of a compressed model: compression.json, and compression.html with pictures."""

from __future__ import annotations

import html
import io
import json
import re
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from armor_core.compression.record import first_difference

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }} td, th {{ padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #ccc }}
svg {{ max-width: 100%; height: auto }}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""


def write_report(
    out: Path, record: dict[str, Any], blocks: list[dict[str, Any]], job: dict[str, Any]
) -> dict[str, Any]:
    """Writes both files, and gives what the first holds.

    `record` is what the run was made from, `blocks` what each lost, and `job` the job's report.
    """
    report = {**record, "blocks": blocks, **totals(job["layers"]), "layers": job["layers"]}
    text = json.dumps(report, indent=2)
    for name, content in (("compression.json", f"{text}\n"), ("compression.html", page("A compressed model", report))):
        unfinished = out / f"{name}.tmp"
        unfinished.write_text(content, encoding="utf-8")
        unfinished.replace(out / name)
    return report


def read_report(out: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The report of a finished run; a ValueError says that it is of another run."""
    path = out / "compression.json"
    if not path.is_file():
        raise ValueError(f"{out}: holds a finished job without {path.name}; choose another folder")
    report = json.loads(path.read_text(encoding="utf-8"))
    difference = first_difference({key: report.get(key) for key in record}, record)
    if difference is not None:
        raise ValueError(f"{out}: holds another run: {difference}")
    return report


def totals(layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Bytes of all compressed weights before and after, and bits a weight after."""
    entries = sum(layer["rows"] * layer["cols"] for layer in layers)
    before, after = (sum(layer[key] for layer in layers) for key in ("bytes_before", "bytes_after"))
    return {"weights": entries, "bytes_before": before, "bytes_after": after, "bits_per_weight": 8 * after / entries}


def page(title: str, report: dict[str, Any]) -> str:
    """The report as a page of HTML that needs no other file."""
    rows = {
        "compressed weights": f"{report['weights']:,}",
        "bytes before": f"{report['bytes_before']:,}",
        "bytes after": f"{report['bytes_after']:,}",
        "bits a weight": f"{report['bits_per_weight']:.2f}",
        "texts": ", ".join(f"{name} (weight {weight:g})" for name, weight, _ in report["texts"]),
        "tokens": f"{report['sequences']} sequences of {report['tokens_of_a_sequence']}",
        "inputs of each layer": "of the compressed model" if report["propagation"] else "of the dense model",
    }
    cells = "".join(f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>" for key, value in rows.items())
    pictures = [picture_of_layers(report["layers"], "loss", "loss of the layer, relative")]
    if all("output_error" in layer and layer["output_error"] is not None for layer in report["layers"]):
        pictures.append(picture_of_layers(report["layers"], "output_error", "error of the layer's output, relative"))
    if report["blocks"]:
        pictures.append(picture_of_blocks(report["blocks"]))
    return PAGE.format(title=html.escape(title), body=f"<table>{cells}</table>\n" + "\n".join(pictures))


def kind_and_number(name: str) -> tuple[str, int]:
    """The name of a layer without the number of its block, and that number."""
    number = re.search(r"\.(\d+)\.", name)
    kind = re.sub(r"\.\d+(?=\.|$)", ".*", name.removesuffix(".weight"))
    return kind, int(number[1]) if number else 0


def picture_of_layers(layers: Sequence[dict[str, Any]], key: str, label: str) -> str:
    """A number of every layer over the blocks, a line for each kind of layer; of experts their mean."""
    lines: dict[str, dict[int, list[float]]] = {}
    for layer in layers:
        kind, number = kind_and_number(layer["name"])
        lines.setdefault(kind, {}).setdefault(number, []).append(layer[key])
    figure, axes = picture(label)
    for kind, values in sorted(lines.items()):
        numbers = sorted(values)
        means = [sum(values[number]) / len(values[number]) for number in numbers]
        axes.plot(numbers, means, marker=".", label=kind)
    axes.legend(fontsize="x-small")
    return svg(figure)


def picture_of_blocks(blocks: Sequence[dict[str, Any]]) -> str:
    """What each block loses, and how far the hidden states behind it are from the dense model's."""
    figure, axes = picture("squared error of the hidden states, relative")
    numbers = range(len(blocks))
    axes.plot(numbers, [block["own"] for block in blocks], marker=".", label="the block alone")
    if all(block["drift"] is not None for block in blocks):
        axes.plot(numbers, [block["drift"] for block in blocks], marker=".", label="all blocks up to it")
    axes.legend(fontsize="x-small")
    return svg(figure)


def picture(label: str) -> tuple[Figure, Any]:
    """An empty picture over the blocks."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel("block")
    axes.set_ylabel(label)
    axes.set_yscale("log")
    return figure, axes


def svg(figure: Figure) -> str:
    """A picture as text, the same for the same numbers."""
    text = io.StringIO()
    with rc_context({"svg.hashsalt": "armor"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
