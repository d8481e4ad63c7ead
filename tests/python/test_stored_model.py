"""A folder that a job has written is read as the formats say. Skipped without PyTorch."""

import importlib

import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import load_file

torch = pytest.importorskip("torch")
stored, model_blocks = (importlib.import_module(f"armor_core.model.{name}") for name in ("stored", "blocks"))

pytestmark = pytest.mark.field

GOLDEN = ROOT / "tests/golden"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("cutlass-*")), ids=lambda path: path.stem)
def test_a_core_of_cutlass_is_what_pytorch_packed(path):
    file = {key: torch.from_numpy(value) for key, value in load_file(path).items()}
    assert torch.equal(stored.core_of_cutlass(file["packed"], file["meta"]), file["dense"])


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (4, 4), (7, 4), (8, 4), (3, 8)])
def test_blocks_are_multiplied_as_one_matrix(rows, size):
    generator = np.random.default_rng(rows)
    count = -(-rows // size)
    blocks, dense = generator.normal(size=(count, size, size)), np.zeros((rows, rows))
    for index in range(count):
        start, width = index * size, min(size, rows - index * size)
        blocks[index, width:] = blocks[index, :, width:] = 0
        dense[start : start + width, start : start + width] = blocks[index, :width, :width]
    matrix = generator.normal(size=(rows, 5))
    found = model_blocks.times_blocks(torch.from_numpy(matrix).T, torch.from_numpy(blocks)).T.numpy()
    np.testing.assert_allclose(found, dense @ matrix)


@pytest.mark.parametrize("form", ["factors", "dense-core", "sparse-24-bitmask", "cutlass"])
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_every_format_holds_the_same_tensors(form, dtype, tmp_path):
    import small_model
    from test_job import finish

    settings = small_model.write(tmp_path, tmp_path / "out", layers=2)
    (tmp_path / "model/config.json").write_text("{}")
    pairs = {}
    for name in (form, "reconstructed"):
        out = tmp_path / name
        finish({**settings, "format": name, "out": str(out), "dtype": dtype if name == form else "f32"})
        pairs[name] = stored.StoredModel(out)
    assert sorted(pairs[form].names()) == sorted(pairs["reconstructed"].names())
    assert len(pairs[form].compressed) == 8
    for name in pairs[form].names():
        found, wanted = (pair.tensor(name).float() for pair in pairs.values())
        assert float((found - wanted).norm()) <= (0.01 if name in pairs[form].compressed else 0) * float(wanted.norm())
