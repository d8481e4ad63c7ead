"""Pairs of inputs by the C ABI, and a job that is calibrated on them, against numpy in f64."""

import pickle

import numpy as np
import pytest
import small_model
from armor_core import Accumulator, ArmorError, Job, PairAccumulator


def pairs_of(tokens=200, inputs=12):
    """Inputs of a dense and of a compressed model, in f32."""
    generator = np.random.default_rng(5)
    dense = generator.standard_normal((tokens, inputs)) @ generator.standard_normal((inputs, inputs))
    drifted = dense + 0.3 * generator.standard_normal((tokens, inputs)) * np.abs(dense)
    return dense.astype(np.float32), drifted.astype(np.float32)


def accumulated(dense, drifted):
    pairs = PairAccumulator(dense.shape[1])
    pairs.add(dense, drifted)
    return pairs


def test_sums_correction_and_error_are_those_of_numpy():
    dense, drifted = pairs_of()
    pairs = accumulated(dense, drifted)
    x, seen = dense.astype(float), drifted.astype(float)
    weight = np.random.default_rng(6).standard_normal((7, 12)).astype(np.float32)
    moment, cross = seen.T @ seen / len(x), x.T @ seen / len(x)
    np.testing.assert_allclose(pairs.hessian(), moment, rtol=1e-5, atol=1e-5)
    corrected, told = pairs.correct(weight, 0.5, 0.01)
    ridge = 0.01 * np.trace(moment) / 12 * np.eye(12)
    wanted = weight + 0.5 * weight @ (cross - moment) @ np.linalg.inv(moment + ridge)
    np.testing.assert_allclose(corrected, wanted, rtol=1e-4, atol=1e-5)
    assert (told.strength, told.ridge) == (0.5, 0.01)
    lost = np.square(x @ weight.T - seen @ corrected.T).sum() / np.square(x @ weight.T).sum()
    assert pairs.output_error(weight, corrected) == pytest.approx(lost, rel=1e-5)
    assert told.irreducible <= lost <= told.drift


def test_pieces_merge_and_survive_as_bytes():
    dense, drifted = pairs_of()
    first, rest = accumulated(dense[:77], drifted[:77]), accumulated(dense[77:], drifted[77:])
    again = PairAccumulator.from_bytes(first.to_bytes("a"), "a")
    assert (again.inputs, again.tokens) == (12, 77)
    again.merge(rest)
    assert again.tokens == 200
    np.testing.assert_allclose(again.hessian(), accumulated(dense, drifted).hessian(), rtol=1e-6)


@pytest.mark.parametrize("count", [0, 200])
def test_they_are_pickled_with_all_that_they_have_summed_up(count):
    dense, drifted = pairs_of()
    pairs = accumulated(dense, drifted) if count else PairAccumulator(12)
    again = pickle.loads(pickle.dumps(pairs))
    assert again.to_bytes("layer") == pairs.to_bytes("layer")
    again.add(dense, drifted)
    assert (again.inputs, again.tokens, pairs.tokens) == (12, count + 200, count)


def test_what_does_not_fit_is_refused():
    dense, drifted = pairs_of()
    pairs = accumulated(dense, drifted)
    with pytest.raises(ArmorError, match="compressed"):
        pairs.add(dense, drifted[1:])
    drifted[3, 2] = np.nan
    with pytest.raises(ArmorError, match="compressed"):
        pairs.add(dense, drifted)
    with pytest.raises(ArmorError, match="strength"):
        pairs.correct(np.ones((2, 12), np.float32), 1.5)
    assert pairs.tokens == 200


def test_a_job_is_calibrated_by_its_caller(tmp_path):
    settings = small_model.write(tmp_path, tmp_path / "out", layers=1, iterations=3)
    for key in ("hessians", "alias"):
        del settings[key]
    job = Job(**settings)
    for index, name in enumerate(job.layers):
        cols = job.plan()["layers"][index]["cols"]
        if name.endswith("q_proj.weight"):
            calibration = accumulated(*pairs_of(inputs=cols))
        else:
            calibration = Accumulator(cols, "full")
            if not name.endswith("k_proj.weight"):
                calibration.add(pairs_of(inputs=cols)[0])
        with pytest.raises(ArmorError, match="not done"):
            job.layer_weight(index)
        job.run_layer_on(index, calibration)
        plan = job.plan()["layers"][index]
        assert job.layer_weight(index).shape == (plan["rows"], plan["cols"])
    job.finish()
    kinds = {layer["name"].split(".")[-2]: layer for layer in job.report()["layers"]}
    assert kinds["q_proj"]["calibration"] == "pairs" and kinds["q_proj"]["irreducible"] > 0
    assert kinds["up_proj"]["calibration"] == "hessian" and kinds["up_proj"]["tokens"] == 200
    assert kinds["k_proj"]["tokens"] == 0
