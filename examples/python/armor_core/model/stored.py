"""The tensors of a model's folder: one as Hugging Face writes it, or one that a job wrote, in any of its formats.

docs/formats.md has the layout of the formats. A · S · B is computed in f32.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from armor_core.model.blocks import product
from armor_core.model.layer_file import ENDINGS, SHAPE, LayerFile

if TYPE_CHECKING:
    from pathlib import Path
# What a layer's tensors are called, after its name.
CORES = {
    "factors": (".armor.core.compressed", ".armor.core.bitmask", ".armor.core.shape"),
    "dense-core": (".armor.core.dense",),
    "sparse-24-bitmask": (".compressed", ".bitmask", ".shape"),
    "cutlass": (".armor.core.packed", ".armor.core.meta"),
}
WRAPPERS = (".armor.left", ".armor.right")
HISTORY = ".armor.history"
# The metadata of a file that are of all its layers.
WORDS_OF_FILE = ("armor.format", "armor.writer")
# The columns that a nibble of CUTLASS's metadata keeps.
KEPT = {0x4: (0, 1), 0x8: (0, 2), 0x9: (1, 2), 0xC: (0, 3), 0xD: (1, 3), 0xE: (2, 3)}


@dataclasses.dataclass
class Compressed:
    """A tensor that was compressed: its matrices, each a layer of its own, and how the input stored them.

    `layers` has their names, one for each slice of a tensor with three axes, or is empty where the tensor holds
    A · S · B itself. The tensor is [..., in, out] if `transposed`, else [..., out, in].
    """

    layers: list[str]
    transposed: bool


class StoredModel:
    """The tensors of a model's folder, by the names that its configuration's model class reads.

    `format` is the job's, or None for a folder that transformers loads by itself. `compressed` has the tensors that a
    job compressed. A ValueError or OSError tells what is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_object(folder / "config.json")
        description = self.config.get("quantization_config")
        written = isinstance(description, dict) and description.get("quant_method") == "armor"
        self._description = description if written else {}
        self.format: str | None = self._description.get("format")
        self.paths = compressed_files(folder) if written else weight_files(folder)
        if written:
            self._check_description()
        self._files: dict[str, Any] = {}
        for path in self.paths:
            try:
                file = safe_open(path, framework="pt")
            except SafetensorError as error:
                raise ValueError(f"{path}: {error}") from error
            self._files.update(dict.fromkeys(file.keys(), file))
        self.compressed = self._factored() if written else self._reconstructed()
        self._parts = {name for entry in self.compressed.values() for layer in entry.layers for name in self._of(layer)}

    def _check_description(self) -> None:
        """Refuses what a job wrote in a way that this module does not read."""
        if self.format not in CORES:
            raise ValueError(f"{self.folder}/config.json: the format is {self.format!r}, none of {', '.join(CORES)}")
        if self._description.get("base") is not None:
            raise ValueError(
                f"{self.folder}: its other tensors are quantised ({self._description['base'].get('quant_method')}), "
                "and such a model cannot be run here"
            )

    def _factored(self) -> dict[str, Compressed]:
        """The tensors that are stored as factors."""
        found, transposed = {}, set(self._description["transposed"])
        for name in self._description["tensors"]:
            stem = name.removesuffix(".weight")
            layers = [stem] if f"{stem}{WRAPPERS[0]}" in self._files else []
            while not layers or layers[0] != stem:
                layer = f"{stem}.{len(layers)}"
                if f"{layer}{WRAPPERS[0]}" not in self._files:
                    break
                layers.append(layer)
            if not layers:
                raise ValueError(f"{self.folder}: holds no factors of {name}")
            found[name] = Compressed(layers, name in transposed)
        return found

    def _reconstructed(self) -> dict[str, Compressed]:
        """The tensors that hold A · S · B themselves, as the report of a job lists them, if there is one."""
        try:
            report = read_object(self.folder / "report.json")
        except ValueError:
            return {}
        found = {}
        for layer in report["layers"] if str(report.get("writer")).startswith("armor-core ") else []:
            slices = layer["name"].rpartition(".")[0]
            names = (layer["name"], slices, f"{slices}.weight")
            name = next((name for name in names if name in self._files), None)
            if name is not None:
                found[name] = Compressed([], bool(layer.get("transposed")))
        return found

    def bytes(self) -> int:
        """The bytes of the weight files."""
        return sum(path.stat().st_size for path in self.paths)

    def layer_count(self) -> int:
        """The number of matrices that were compressed."""
        return sum(len(entry.layers) or matrices(self.shape(name)) for name, entry in self.compressed.items())

    def layer_bytes(self, name: str) -> int:
        """The bytes of a tensor, of one that is stored as factors those of wrappers and cores."""
        parts = [part for layer in self._layers(name) for part in self._of(layer) if not part.endswith(HISTORY)]
        return sum(self._files[part].get_tensor(part).nbytes for part in parts or [name])

    def layer_file(self, layer: str) -> LayerFile:
        """A layer that is stored in the format `factors`; `layer` is one of `compressed`'s."""
        return LayerFile({end: self._part(f"{layer}.{end}") for end in ENDINGS}, self._words()[layer])

    def layer_shape(self, layer: str) -> tuple[int, int]:
        """Outputs and inputs of a layer that is stored in the format `factors`."""
        rows, columns = self._part(f"{layer}.{SHAPE}").tolist()
        return rows, columns

    @functools.cache  # noqa: B019 - there is one model, which lives as long as the program needs it
    def _words(self) -> dict[str, dict[str, str]]:
        """The metadata of every layer, by its name, with those of its file."""
        found: dict[str, dict[str, str]] = {}
        for file in {id(file): file for file in self._files.values()}.values():
            metadata = file.metadata() or {}
            of_all = {name: metadata[name] for name in WORDS_OF_FILE if name in metadata}
            for key, word in metadata.items():
                layer, armor, rest = key.rpartition(".armor.")
                if armor:
                    found.setdefault(layer, dict(of_all))[f"armor.{rest}"] = word
        return found

    def shape(self, name: str) -> list[int]:
        """The shape of a tensor that is not stored as factors."""
        return list(self._files[name].get_slice(name).get_shape())

    def names(self) -> list[str]:
        """The names of all tensors."""
        stored = [name for name in self._files if name not in self._parts]
        return stored + [name for name, entry in self.compressed.items() if entry.layers]

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor, computed in f32 where it is stored as factors."""
        layers = self._layers(name)
        if not layers:
            return self._part(name)
        products = [self._product(layer) for layer in layers]
        if self.compressed[name].transposed:
            products = [product.mT.contiguous() for product in products]
        stem = name.removesuffix(".weight")
        return products[0] if layers == [stem] else torch.stack(products)

    def _layers(self, name: str) -> list[str]:
        return self.compressed[name].layers if name in self.compressed else []

    def _of(self, layer: str) -> list[str]:
        """The names of a layer's own tensors in the files."""
        suffixes = (*WRAPPERS, *CORES[self.format], HISTORY)
        return [layer + suffix for suffix in suffixes if layer + suffix in self._files]

    def _part(self, name: str) -> torch.Tensor:
        if name not in self._files:
            raise ValueError(f"{self.folder}: holds no tensor {name}")
        return self._files[name].get_tensor(name)

    def _product(self, layer: str) -> torch.Tensor:
        """A · S · B of a layer, (out, in) of f32."""
        left, right = (self._part(layer + suffix).float() for suffix in WRAPPERS)
        core = self._core(layer).float()
        return product(left, core, right).contiguous()

    def _core(self, layer: str) -> torch.Tensor:
        """S of a layer with its zeros, (out, in)."""
        parts = [self._part(layer + suffix) for suffix in CORES[self.format]]
        if self.format == "dense-core":
            return parts[0]
        if self.format == "cutlass":
            return core_of_cutlass(*parts)
        values, bits, shape = parts
        rows, columns = shape.flatten().tolist()
        mask = np.unpackbits(bits.numpy(), axis=1, count=columns, bitorder="little").astype(bool)
        core = torch.zeros(rows, columns, dtype=values.dtype)
        core[torch.from_numpy(mask)] = values.flatten()
        return core


def matrices(shape: list[int]) -> int:
    """The number of matrices in a tensor: its slices, where it has three axes."""
    return shape[0] if len(shape) > 2 else 1


def read_object(path: Path) -> dict[str, Any]:
    """Reads a file that holds a JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent}: holds no {path.name}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: is no JSON object")
    return value


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model that transformers would read."""
    index = folder / "model.safetensors.index.json"
    whole = folder / "model.safetensors"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        raise ValueError(f"{folder}: holds neither {whole.name} nor {index.name}")
    return [folder / name for name in sorted(set(read_object(index)["weight_map"].values()))]


def compressed_files(folder: Path) -> list[Path]:
    """The safetensors files of a model that a job wrote, or that `save_pretrained` wrote into its folder later."""
    try:
        return weight_files(folder)
    except ValueError:
        found = sorted(folder.glob("armor-*.safetensors"))
        if not found:
            raise ValueError(
                f"{folder}: holds no armor-*.safetensors, where its config.json says that it should"
            ) from None
        return found


def core_of_cutlass(values: torch.Tensor, meta: torch.Tensor) -> torch.Tensor:
    """The dense core of packed values (m, k/2) and reordered metadata (m, k/16); docs/formats.md says how."""
    rows, words = meta.shape
    row, word = np.indices((rows, words))
    row = 32 * (row // 32) + 4 * (row % 8) + row % 32 // 8
    row, word = 2 * (row // 2) + word % 2, 2 * (word // 2) + row % 2
    plain = meta.numpy().ravel().view(np.uint16)[2 * rows * (word // 2) + 2 * row + word % 2]
    nibbles = plain[:, :, None] >> np.array([0, 4, 8, 12], np.uint16) & 15
    places = np.zeros((16, 2), np.int64)
    places[list(KEPT)] = list(KEPT.values())
    core = torch.zeros(rows, 4 * words, 4, dtype=values.dtype)
    columns = torch.from_numpy(places[nibbles.reshape(rows, 4 * words)])
    return core.scatter_(2, columns, values.reshape(rows, 4 * words, 2)).reshape(rows, 16 * words)
