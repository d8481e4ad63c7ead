"""Rounding to nearest is what a loop over groups does. Skipped without PyTorch."""

import importlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
rounding, stored, load = (
    importlib.import_module(f"armor_core.model.{name}") for name in ("rounding", "stored", "load")
)
variants = importlib.import_module("armor_core.evaluation.variants")

pytestmark = pytest.mark.field


def rounded(row, bits):
    """A row rounded group by group, each with the best of all scales."""
    result = []
    for start in range(0, len(row), 64):
        group = row[start : start + 64]
        best = np.zeros_like(group)
        for step in range(13):
            for sign in (1, -1):
                scale = float(
                    np.float16(np.float32(sign * (1.05 - 0.04 * step) * np.abs(group).max() / 2 ** (bits - 1)))
                )
                if scale == 0:
                    continue
                codes = [min(max(round(value / scale), -(2 ** (bits - 1))), 2 ** (bits - 1) - 1) for value in group]
                found = np.array(codes) * scale
                if ((found - group) ** 2).sum() < ((best - group) ** 2).sum():
                    best = found
        result.extend(best)
    return np.array(result)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("columns", [1, 63, 64, 65, 200])
def test_rows_are_rounded_as_a_loop_over_groups_does(bits, columns):
    weight = np.random.default_rng(bits + columns).normal(0, 0.05, (5, columns)).astype(np.float32)
    weight[2] = 0
    found = rounding.round_to_nearest(torch.from_numpy(weight), bits).numpy()
    wanted = np.array([rounded(row, bits) for row in weight.astype(float)])
    errors, least = ((found - weight) ** 2).sum(1), ((wanted - weight) ** 2).sum(1)
    np.testing.assert_allclose(errors, least, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert not found[2].any()


def test_a_group_has_no_more_numbers_than_its_bits():
    weight = torch.randn(40, 256, generator=torch.Generator().manual_seed(0))
    for bits in (2, 3, 4):
        groups = rounding.round_to_nearest(weight, bits).reshape(-1, 64)
        assert max(len(group.unique()) for group in groups) <= 2**bits


def test_more_bits_lose_less_and_slices_are_rounded_by_themselves():
    weight = torch.randn(3, 10, 100, generator=torch.Generator().manual_seed(0))
    errors = [float((rounding.round_to_nearest(weight, bits) - weight).norm()) for bits in range(2, 9)]
    assert errors == sorted(errors, reverse=True)
    whole = rounding.round_to_nearest(weight, 4)
    for index in range(3):
        assert torch.equal(whole[index], rounding.round_to_nearest(weight[index], 4))


def test_the_bits_of_a_weight_count_its_scales():
    assert rounding.bits_per_weight(576, 4) == 4.25
    assert rounding.bits_per_weight(64, 8) == 8.25
    assert rounding.bits_per_weight(65, 3) == 3 + 32 / 65


def test_transposed_layers_are_rounded_along_their_inputs(tmp_path):
    from tiny_models import save

    folder = save(tmp_path, "gpt2")
    model = stored.StoredModel(folder)
    name = "transformer.h.0.attn.c_attn.weight"
    found = variants.rounded(model, {name: True}, 3, "cpu").load(torch.float32).state_dict()
    dense = load.load(model).state_dict()
    changed = {key for key in dense if not torch.equal(dense[key], found[key])}
    assert changed == {name}
    assert torch.equal(found[name], rounding.round_to_nearest(dense[name].T, 3).T)


def test_layers_are_found_where_no_job_tells_of_them(tmp_path):
    from tiny_models import save

    folder = save(tmp_path, "mixtral")
    model = stored.StoredModel(folder)
    layers, others = variants.linear_layers(model, load.load(model))
    assert sorted(layers) == [f"model.layers.{i}.self_attn.{p}_proj.weight" for i in (0, 1) for p in "koqv"]
    assert len(others) == 4
