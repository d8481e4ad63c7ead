#!/usr/bin/env python3
"""Checks and times factorised layers on a GPU beside dense ones: python3 examples/python/gpu.py

For each shape a random layer is factorised on the CPU, and moved to the device as `armor_core.inference` does. What it
computes in bf16 is compared with A · S · B in f64, and its products are timed beside those of a dense layer of the same
shape, side by side, for 1, 16 and 2048 tokens. `--device cpu` tries the script where there is no GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import armor_core
import numpy as np
import torch
from armor_core.inference.unpack import factor_linear
from armor_core.model.layer_file import LayerFile, Record
from armor_core.packed import Packed

if TYPE_CHECKING:
    from armor_core.inference import FactorLinear

SHAPES = ("576x1536", "4096x4096", "11008x4096")
TOKENS = (1, 16, 2048)
RUNS = 30


def layer_of(rows: int, cols: int, options: argparse.Namespace) -> FactorLinear:
    """A factorised random layer in bf16, on the device."""
    generator = np.random.default_rng(options.seed)
    weight = generator.standard_normal((rows, cols), np.float32)
    settings = armor_core.Options(left_block=options.block, right_block=options.block, iterations=options.iterations)
    factors = armor_core.factorize(weight, options=settings)
    words = {"armor.pattern": "2:4", "armor.format": "2"}
    file = LayerFile.of_packed(Packed(factors), Record(words, torch.zeros(1, dtype=torch.float64)))
    return factor_linear(file, torch.bfloat16).requires_grad_(False).to(options.device).eval()


def exact(layer: FactorLinear, x: torch.Tensor) -> torch.Tensor:
    """A (S (B x)) in f64, block by block."""

    def times(blocks: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        dense = torch.block_diag(*blocks.double().cpu())[: vectors.shape[1], : vectors.shape[1]]
        return vectors @ dense.T

    core = layer.core().double().cpu()
    return times(layer.left, times(layer.right, x.double().cpu()) @ core.T)


def milliseconds(layer: torch.nn.Module, x: torch.Tensor) -> float:
    """The time of one product."""
    wait = torch.cuda.synchronize if x.is_cuda else int
    wait()
    started = time.perf_counter()
    layer(x)
    wait()
    return 1e3 * (time.perf_counter() - started)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="MxK", help="outputs x inputs")
    parser.add_argument("--block", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    name = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else options.device
    print(f"{name}, PyTorch {torch.__version__}, bf16, medians of {RUNS} runs in turns with the dense layer")
    print(f"{'layer':>14} {'tokens':>7} {'error':>9} {'sparse':>7} {'factors ms':>11} {'dense ms':>9} {'ratio':>6}")
    for shape in options.shapes:
        rows, cols = (int(size) for size in shape.split("x"))
        layer = layer_of(rows, cols, options)
        dense = torch.nn.Linear(cols, rows, bias=False, dtype=torch.bfloat16, device=options.device)
        for tokens in TOKENS:
            x = torch.randn(tokens, cols, dtype=torch.bfloat16, device=options.device)
            with torch.no_grad():
                expected = exact(layer, x)
                error = ((layer(x).double().cpu() - expected).norm() / expected.norm()).item()
                pairs = [(milliseconds(layer, x), milliseconds(dense, x)) for _ in range(RUNS)]
                sparse = "yes" if layer.takes_sparse(x) else "no"
            ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
            print(f"{shape:>14} {tokens:7} {error:9.1e} {sparse:>7} {ours:11.3f} {theirs:9.3f} {theirs / ours:6.2f}")


if __name__ == "__main__":
    main()
