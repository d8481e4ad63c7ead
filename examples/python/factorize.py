#!/usr/bin/env python3
"""Factorises the layer of a safetensors file from Python, with the package `armor_core` beside this file.

LD_LIBRARY_PATH=<prefix>/lib python3 factorize.py FILE.safetensors
"""

import json
import sys
from pathlib import Path

import armor_core
import numpy as np


def read_layer(path: str) -> tuple[str, np.ndarray, np.ndarray]:
    """The file's only *.weight with its *.hessian: (name, weight, hessian)."""
    content = Path(path).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    name = next(key for key in header if key.endswith(".weight"))

    def tensor(key: str) -> np.ndarray:
        entry = header[key]
        begin, end = (start + offset for offset in entry["data_offsets"])
        dtype = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[entry["dtype"]]
        return np.frombuffer(content[begin:end], dtype).reshape(entry["shape"])

    return name, tensor(name), tensor(name.removesuffix(".weight") + ".hessian")


def block_diagonal(blocks: np.ndarray, size: int) -> np.ndarray:
    """The dense matrix, (size, size), of padded blocks, (count, p, p)."""
    p = blocks.shape[1]
    dense = np.zeros((len(blocks) * p,) * 2)
    for index, block in enumerate(blocks):
        dense[index * p : (index + 1) * p, index * p : (index + 1) * p] = block
    return dense[:size, :size]


def relative_loss(weight: np.ndarray, product: np.ndarray, diagonal: np.ndarray) -> float:
    """The paper's proxy loss relative to that of zeros, from its definition."""
    columns = np.linalg.norm(weight, axis=0)
    rows = np.linalg.norm(weight / columns, axis=1)
    scale = 1 / np.outer(rows, columns)
    return np.sum(diagonal * ((weight - product) * scale) ** 2) / np.sum(diagonal * (weight * scale) ** 2)


def check(layer: armor_core.Factorization, weight: np.ndarray, hessian: np.ndarray) -> None:
    """Compares everything with numpy's own arithmetic."""
    s, product = layer.sizes, layer.reconstruct()
    core = layer.core()
    dense = block_diagonal(layer.left(), s.rows) @ core.astype(float) @ block_diagonal(layer.right(), s.cols)
    scale = np.abs(dense).max()
    assert np.abs(product - dense).max() <= 1e-6 * scale, "reconstruct is A · S · B"
    mask = layer.core_mask()
    assert (mask.reshape(s.rows, -1, s.pattern_m).sum(axis=2) == s.pattern_n).all(), "the mask is N:M"
    assert (core[mask] == layer.core_values().ravel()).all() and not core[~mask].any(), "values and mask are the core"
    x = np.cos(np.arange(s.cols))
    assert np.abs(layer.apply(x) - dense @ x).max() <= 1e-5 * scale * s.cols, "apply is a product"
    check_packed(layer, dense)
    loss = relative_loss(weight.astype(float), dense, np.diag(hessian).astype(float))
    assert abs(loss - layer.report.loss) <= 1e-6 * loss, f"the loss is {loss} by its definition"
    again = armor_core.Factorization.from_bytes(layer.to_bytes("layer"), "layer")
    assert (again.reconstruct() == product).all() and again.report.loss == layer.report.loss, "bytes keep it all"
    try:
        armor_core.factorize(np.where(weight == weight[3, 5], np.nan, weight), hessian)
    except armor_core.ArmorError as error:
        assert error.status == 8 and str(error).startswith("weight: entry ["), error
    else:
        raise AssertionError("a weight with NaN is refused")


def check_packed(layer: armor_core.Factorization, dense: np.ndarray) -> None:
    """Compares packed products with the dense matrix, by the significant bits that the numbers keep."""
    x = np.random.default_rng(0).standard_normal((20, dense.shape[1])).astype(np.float32)
    product = x.astype(float) @ dense.T
    for dtype, tolerance in [("float32", 1e-5), ("float16", 1e-2), ("bfloat16", 5e-2)]:
        packed = armor_core.Packed(layer, dtype)
        y = packed.apply(x)
        error = np.linalg.norm(y - product) / np.linalg.norm(product)
        assert error <= tolerance, f"a product in {dtype} is off by {error}"
        assert (packed.apply(x[3]) == y[3]).all(), "a vector is a row of a batch"
        assert (packed.apply(x.astype(float)) == y).all(), "x may be of any type"
        width = 4 if dtype == "float32" else 2
        assert packed.sizes.bytes < 0.8 * dense.size * width, "smaller than the dense weight"


def print_table(name: str, layer: armor_core.Factorization, output_error: float) -> None:
    """Prints what the Rust example prints."""
    s, r = layer.sizes, layer.report
    lower = 100 * (1 - r.loss / r.nowag_p_loss) if r.nowag_p_loss > 0 else 0
    lines = [
        ("layer", f"{name} ({s.rows} × {s.cols})"),
        (
            "factors",
            f"{s.pattern_n}:{s.pattern_m} core, blocks of {s.left_block} and {s.right_block}, preset exact",
        ),
        ("loss of NoWag-P", f"{r.nowag_p_loss:.6f}"),
        ("loss", f"{r.loss:.6f}  ({lower:.1f} % lower)"),
        ("output error", f"{output_error:.6f}  under the whole Hessian"),
        ("wrapper overhead", f"{100 * r.overhead:.2f} % of the weight's entries"),
    ]
    for dtype, size, stored in [("f32", 4, r.stored_bytes_f32), ("f16", 2, r.stored_bytes_f16)]:
        dense = s.rows * s.cols * size
        lines.append((f"size in {dtype}", f"{stored} bytes, {100 * stored / dense:.1f} % of dense ({dense})"))
    lines.append(("iterations", f"{r.iterations} (stopped: {layer.stop_reason})"))
    lines.append(("time", f"{r.seconds:.2f} s, {1e3 * r.seconds / r.iterations:.2f} ms an iteration"))
    for label, value in lines:
        print(f"{label:<22}{value}")


def main() -> None:
    """Factorises, prints, and checks."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FILE.safetensors")
    name, weight, hessian = read_layer(sys.argv[1])
    layer = armor_core.factorize(weight, hessian)
    print_table(name, layer, layer.output_error(weight, hessian))
    check(layer, weight, hessian)


if __name__ == "__main__":
    main()
