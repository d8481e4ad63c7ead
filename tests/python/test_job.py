"""A checkpoint is compressed through the C ABI, whoever runs its layers and however often it is interrupted."""

import json
import shutil

import armor_core
import numpy as np
import pytest
import small_model
from safetensors.numpy import load_file


def finish(settings):
    """Runs what is left of a job."""
    job = armor_core.Job(**settings)
    for index in range(len(job.layers)):
        job.run_layer(index)
    job.finish()
    return job


def test_a_job_writes_factors_that_reconstruct_to_the_loss_of_the_report(tmp_path):
    settings = small_model.write(tmp_path, tmp_path / "out")
    job = finish(settings)
    assert len(job.layers) == 12
    report = job.report()
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(files) == 2
    assert sum(key.endswith(".armor.left") for file in files for key in load_file(file)) == 12


def test_a_job_that_was_left_goes_on_to_the_same_bytes(tmp_path):
    whole = small_model.write(tmp_path / "a", tmp_path / "whole")
    finish(whole)
    parts = {**whole, "out": str(tmp_path / "parts")}
    job = armor_core.Job(**parts)
    job.run_layer(3)
    job.run_layer(0)
    assert [index for index in range(len(job.layers)) if job.is_done(index)] == [0, 3]
    del job
    with pytest.raises(armor_core.ArmorError):
        armor_core.Job(**parts)
    finish({**parts, "resume": True})
    assert same(tmp_path / "whole", tmp_path / "parts")


def same(one, other):
    """Whether two output folders hold the same tensors, to the byte, under the same names."""
    ours, theirs = small_model.contents(one), small_model.contents(other)
    assert ours.keys() == theirs.keys()
    return all(ours[name] == theirs[name] for name in ours if name.endswith((".safetensors", ".index.json")))


def test_a_cancelled_layer_is_not_kept(tmp_path):
    job = armor_core.Job(**small_model.write(tmp_path, tmp_path / "out"))
    with pytest.raises(armor_core.ArmorError):
        job.run_layer(0, progress=lambda told: told.iteration < 5)
    assert not job.is_done(0)
    told = []
    job.run_layer(0, progress=told.append)
    assert [progress.iteration for progress in told] == list(range(1, 41))
    assert job.is_done(0)


def test_an_unfinished_job_has_no_report_and_cannot_be_finished(tmp_path):
    job = armor_core.Job(**small_model.write(tmp_path, tmp_path / "out"))
    for call in (job.finish, job.report):
        with pytest.raises(armor_core.ArmorError):
            call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"include": ["nothing*"]}, "nothing*"),
        ({"hessians": "missing.safetensors"}, "missing.safetensors"),
        ({"alias": {}}, "model.layers.0.self_attn.k_proj"),
        ({"format": "best"}, "best"),
        ({"iterations": 0}, "iterations"),
        ({"iterations": "x"}, 'iterations: invalid type: string "x"'),
        ({"row_weighting": "alike"}, "row_weighting: unknown variant `alike`, expected `nowag` or `uniform`"),
    ],
)
def test_wrong_settings_are_named(tmp_path, change, message):
    with pytest.raises(armor_core.ArmorError, match=message.replace("*", r"\*")):
        armor_core.Job(**{**small_model.write(tmp_path, tmp_path / "out"), **change})
    assert not list(tmp_path.glob("out/*"))


def test_a_weight_that_is_not_finite_is_named_before_any_work(tmp_path):
    settings = small_model.write(tmp_path, tmp_path / "out")
    path = tmp_path / "hessians.safetensors"
    hessians = load_file(path)
    name = "model.layers.2.mlp.up_proj.hessian_diag"
    hessians[name][5] = np.nan
    from safetensors.numpy import save_file

    save_file(hessians, path)
    with pytest.raises(armor_core.ArmorError, match=name):
        armor_core.Job(**settings)


def test_a_job_that_is_finished_in_another_dtype_is_refused_by_whoever_comes_later(tmp_path):
    settings = small_model.write(tmp_path, tmp_path / "out")
    late = armor_core.Job(**settings, dtype="f32")
    finish(settings)
    with pytest.raises(
        armor_core.ArmorError, match='holds this job, finished in format "factors" and dtype of each weight'
    ):
        late.finish()
    late.run_layer(0)
    assert not (tmp_path / "out" / ".parts").exists()


def test_a_folder_that_was_removed_is_not_made_anew(tmp_path):
    job = armor_core.Job(**small_model.write(tmp_path, tmp_path / "out"))
    job.run_layer(0)
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(armor_core.ArmorError, match="no longer holds this job"):
        job.run_layer(1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("index", [-1, 12])
def test_a_layer_that_is_none_is_named(tmp_path, index):
    job = armor_core.Job(**small_model.write(tmp_path, tmp_path / "out"))
    for call in (job.run_layer, job.is_done):
        with pytest.raises(IndexError, match=f"index: is {index}, but the job has layers 0 to 11"):
            call(index)


def test_the_report_tells_how_rows_are_weighted(tmp_path):
    settings = small_model.write(tmp_path, tmp_path / "default")
    assert finish(settings).report()["settings"]["row_weighting"] == "nowag"
    settings = {**settings, "row_weighting": "uniform", "out": str(tmp_path / "uniform")}
    assert finish(settings).report()["settings"]["row_weighting"] == "uniform"
