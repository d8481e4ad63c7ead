"""Accumulators sum up what they are given, in whatever pieces, types and order."""

import pickle

import armor_core
import numpy as np
import pytest

KINDS = ["diagonal", "full"]


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(5).standard_normal((500, 24)).astype(np.float32)


def wanted(tokens, kind):
    """H by its definition."""
    hessian = tokens.astype(float).T @ tokens.astype(float) / len(tokens)
    return hessian if kind == "full" else np.diag(hessian)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_and_merged_parts_give_the_mean(tokens, kind):
    one, two = armor_core.Accumulator(24, kind), armor_core.Accumulator(24, kind)
    one.add(tokens[:7])
    one.add(np.asfortranarray(tokens[7:200]))
    two.add(tokens[200:].astype(float))
    one.merge(two)
    assert (one.tokens, two.tokens) == (500, 300)
    np.testing.assert_allclose(one.hessian(), wanted(tokens, kind), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_keep_it_all(tokens, kind):
    accumulator = armor_core.Accumulator(24, kind)
    accumulator.add(tokens)
    again = armor_core.Accumulator.from_bytes(accumulator.to_bytes("layer"), "layer")
    assert (again.inputs, again.kind, again.tokens) == (24, kind, 500)
    np.testing.assert_array_equal(again.hessian(), accumulator.hessian())
    again.add(tokens)
    assert again.tokens == 1000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 500])
def test_it_is_pickled_with_all_that_it_has_summed_up(tokens, kind, count):
    accumulator = armor_core.Accumulator(24, kind)
    if count:
        accumulator.add(tokens)
    again = pickle.loads(pickle.dumps({"one": accumulator, "same": accumulator}))
    assert again["one"] is again["same"]
    assert again["one"].to_bytes("layer") == accumulator.to_bytes("layer")
    again["one"].add(tokens)
    assert (again["one"].tokens, accumulator.tokens) == (count + 500, count)


def test_a_hessian_goes_on_to_a_factorisation(tokens):
    accumulator = armor_core.Accumulator(24, "full")
    accumulator.add(tokens)
    weight = np.random.default_rng(6).standard_normal((16, 24))
    options = armor_core.Options(left_block=8, right_block=8, iterations=5)
    assert 0 < armor_core.factorize(weight, accumulator.hessian(), options).report.loss < 1


def test_what_does_not_fit_is_refused_and_nothing_added(tokens):
    accumulator = armor_core.Accumulator(24, "full")
    with pytest.raises(armor_core.ArmorError):
        accumulator.hessian()
    spoiled = tokens.copy()
    spoiled[3, 5] = np.inf
    for wrong, message in ((tokens[:, :5], "24"), (spoiled, r"\[3, 5\]")):
        with pytest.raises(armor_core.ArmorError, match=message):
            accumulator.add(wrong)
    for other in (armor_core.Accumulator(24), armor_core.Accumulator(8, "full"), accumulator):
        with pytest.raises(armor_core.ArmorError):
            accumulator.merge(other)
    assert accumulator.tokens == 0
    with pytest.raises(ValueError, match="kind: 'best'"):
        armor_core.Accumulator(24, "best")
    for kind, inputs in (("identity", 24), ("full", 0)):
        with pytest.raises(armor_core.ArmorError):
            armor_core.Accumulator(inputs, kind)
