#!/usr/bin/env python3
"""Makes a random checkpoint of many layers with its Hessians, to measure memory: large.py FOLDER [LAYERS].

Layers are 1024 x 1152 in bf16, 2.25 MiB each, in shards of 60; 220 of them by default, 519 MB. Needs no package.
"""

import json
import random
import struct
import sys
from pathlib import Path

ROWS, COLS, PER_SHARD = 1024, 1152, 60
# The upper byte of a bf16 of either sign between 2^-7 and 2^-3.
UPPER = bytes([0x3C, 0x3D, 0xBC, 0xBD] * 64)


def save(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    """Writes a safetensors file of (dtype, shape, bytes)."""
    header, end = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def weight(generator: random.Random) -> bytes:
    """Random bf16 numbers, none of them infinite."""
    data = bytearray(2 * ROWS * COLS)
    data[0::2] = generator.randbytes(ROWS * COLS)
    data[1::2] = generator.randbytes(ROWS * COLS).translate(UPPER)
    return bytes(data)


def main() -> None:
    folder, layers = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 220
    (folder / "model").mkdir(parents=True, exist_ok=True)
    generator = random.Random(1)
    names = [f"model.layers.{layer}.mlp.up_proj" for layer in range(layers)]
    shards = [names[start : start + PER_SHARD] for start in range(0, layers, PER_SHARD)]
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save(folder / "model" / file, {f"{name}.weight": ("BF16", [ROWS, COLS], weight(generator)) for name in shard})
        weight_map |= {f"{name}.weight": file for name in shard}
    index = {"metadata": {"total_size": 2 * ROWS * COLS * layers}, "weight_map": weight_map}
    (folder / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    diagonals = {}
    for name in names:
        values = [generator.expovariate(1) + 0.01 for _ in range(COLS)]
        diagonals[f"{name}.hessian_diag"] = ("F32", [COLS], struct.pack(f"<{COLS}f", *values))
    save(folder / "hessians.safetensors", diagonals)


if __name__ == "__main__":
    main()
