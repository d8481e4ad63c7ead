"""Files that other programs read are decoded by a few lines of numpy, first those that the programs made themselves."""

from pathlib import Path

import factorize
import numpy as np
import pytest
import small_model
from conftest import ROOT
from safetensors.numpy import load_file
from test_job import finish

GOLDEN = ROOT / "tests/golden"
PARTS = ("shape", "compressed", "bitmask")
PAIRS = {0x4: (0, 1), 0x8: (0, 2), 0x9: (1, 2), 0xC: (0, 3), 0xD: (1, 3), 0xE: (2, 3)}


def decode_bitmask(values, bitmask, shape):
    """The dense matrix of sparse-24-bitmask: column j of a row is bit j % 8, least significant first, of byte j / 8."""
    rows, cols = np.ravel(shape)
    dense = np.zeros((rows, cols), values.dtype)
    dense[np.unpackbits(bitmask, axis=1, count=cols, bitorder="little").astype(bool)] = values.ravel()
    return dense


def decode_cutlass(values, meta):
    """The dense matrix of packed values (m, k/2) and reordered metadata (m, k/16)."""
    m, words = meta.shape
    row, word = np.indices((m, words))
    # Rows of 32 are interleaved: 0, 8, 16, 24, 1, 9, … Then each 2 × 2 of them is transposed, and pairs of columns
    # lie one after the other.
    row = row // 32 * 32 + row % 8 * 4 + row % 32 // 8
    row, word = row // 2 * 2 + word % 2, word // 2 * 2 + row % 2
    plain = meta.ravel().view(np.uint16)[word // 2 * 2 * m + row * 2 + word % 2]
    dense = np.zeros((m, 4 * words, 4), values.dtype)
    packed = values.reshape(m, 4 * words, 2)
    for group in range(4 * words):
        for i in range(m):
            dense[i, group, list(PAIRS[plain[i, group // 4] >> 4 * (group % 4) & 15])] = packed[i, group]
    return dense.reshape(m, 16 * words)


def bits(array):
    """Zeros of either sign differ."""
    return array.shape, array.tobytes()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("bitmask-*")), ids=lambda path: path.stem)
def test_bitmasks_of_compressed_tensors_decode(path):
    file = load_file(path)
    dense = decode_bitmask(file["layer.compressed"], file["layer.bitmask"], file["layer.shape"])
    assert bits(dense) == bits(file["dense"])


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("cutlass-*")), ids=lambda path: path.stem)
def test_cutlass_of_pytorch_decodes(path):
    file = load_file(path)
    assert bits(decode_cutlass(file["packed"], file["meta"])) == bits(file["dense"])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The tensors of one checkpoint by format, its settings, and the layers of the reports by name and format."""
    folder = tmp_path_factory.mktemp("formats")
    settings = small_model.write(folder, folder / "out", layers=2)
    tensors, layers = {}, {}
    for name in ("factors", "dense-core", "sparse-24-bitmask", "cutlass", "reconstructed"):
        out = folder / name
        report = finish({**settings, "format": name, "out": str(out)}).report()
        tensors[name] = {key: value for file in out.glob("*.safetensors") for key, value in load_file(file).items()}
        for entry in report["layers"]:
            layers.setdefault(entry["name"].removesuffix(".weight"), {})[name] = entry
    assert len(layers) == 8
    return tensors, settings, layers


def core_of(tensors, layer):
    """The dense core of the format factors."""
    key = f"{layer}.armor.core"
    return decode_bitmask(*(tensors[f"{key}.{part}"] for part in ("compressed", "bitmask", "shape")))


def product(tensors, layer):
    """A · S · B of the format factors, (m, k) of f64."""
    core = core_of(tensors, layer).astype(float)
    left, right = (tensors[f"{layer}.armor.{side}"].astype(float) for side in ("left", "right"))
    return factorize.block_diagonal(left, len(core)) @ core @ factorize.block_diagonal(right, core.shape[1])


def test_every_format_holds_the_same_core(written):
    tensors, _, layers = written
    for layer in layers:
        core = bits(core_of(tensors["factors"], layer))
        assert bits(tensors["dense-core"][f"{layer}.armor.core.dense"]) == core
        file = tensors["sparse-24-bitmask"]
        assert bits(decode_bitmask(*(file[f"{layer}.{part}"] for part in ("compressed", "bitmask", "shape")))) == core
        file = tensors["cutlass"]
        assert bits(decode_cutlass(file[f"{layer}.armor.core.packed"], file[f"{layer}.armor.core.meta"])) == core


def test_what_is_stored_has_the_loss_of_the_report(written):
    tensors, settings, layers = written
    weights = {}
    for file in Path(settings["checkpoint"]).glob("*.safetensors"):
        weights.update(load_file(file))
    hessians = load_file(settings["hessians"])
    for layer, entries in layers.items():
        weight = weights[f"{layer}.weight"].astype(float)
        diagonal = hessians[entries["factors"]["hessian"]].astype(float)
        made = product(tensors["factors"], layer)
        dense = tensors["reconstructed"][f"{layer}.weight"].astype(float)
        for name, stored in (("factors", made), ("reconstructed", dense)):
            loss = factorize.relative_loss(weight, stored, diagonal)
            assert loss == pytest.approx(entries[name]["loss"], rel=1e-6), name


def test_what_is_not_selected_is_copied(written):
    tensors, settings, _ = written
    copied = {}
    for file in Path(settings["checkpoint"]).glob("*.safetensors"):
        copied.update({key: value for key, value in load_file(file).items() if "_proj" not in key})
    assert len(copied) == 3
    for file in tensors.values():
        assert {key: bits(value) for key, value in file.items() if key in copied} == {
            key: bits(value) for key, value in copied.items()
        }


@pytest.mark.field
def test_pytorch_unpacks_the_cutlass_core(written):
    torch = pytest.importorskip("torch")
    from torch.sparse._semi_structured_conversions import sparse_semi_structured_to_dense_cutlass as to_dense

    tensors, _, layers = written
    for layer in layers:
        packed, meta = (
            torch.from_numpy(tensors["cutlass"][f"{layer}.armor.core.{part}"]) for part in ("packed", "meta")
        )
        assert bits(to_dense(packed, meta).numpy()) == bits(core_of(tensors["factors"], layer))


@pytest.mark.field
def test_compressed_tensors_unpacks_the_bitmask_core(written):
    module = pytest.importorskip("compressed_tensors.compressors.sparse_compressors.sparse_24_bitmask")
    import torch

    tensors, _, layers = written
    for layer in layers:
        parts = {part: torch.from_numpy(tensors["sparse-24-bitmask"][f"{layer}.{part}"]) for part in PARTS}
        dense = module.Sparse24BitMaskTensor.from_compressed_data(**parts).decompress()
        assert bits(dense.numpy()) == bits(core_of(tensors["factors"], layer))
