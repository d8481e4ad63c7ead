"""Hidden states in files: whole or not there, whatever happens while they are written."""

import pytest

pytest.importorskip("torch")

import torch
from armor_core.compression.states import HiddenStates

BOTH = ("dense", "compressed")


def hidden(index):
    return torch.full((1, 3, 2), float(index))


def begun(folder):
    states = HiddenStates(folder, BOTH)
    assert states.block is None
    states.begin(hidden, 4)
    return states


def test_they_begin_equal_and_advance_apart(tmp_path):
    states = begun(tmp_path)
    assert (states.block, len(states), states.tokens) == (0, 4, 3)
    states.advance(1, lambda path, values: values + (1 if path == "dense" else 2))
    assert states.block == 1
    assert [value.unique().tolist() for value in states.all("dense")] == [[1.0], [2.0], [3.0], [4.0]]
    assert [value.unique().tolist() for value in states.all("compressed")] == [[2.0], [3.0], [4.0], [5.0]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["block-00001-compressed.npy", "block-00001-dense.npy"]


def test_a_run_that_was_stopped_goes_on_where_all_paths_are_whole(tmp_path):
    states = begun(tmp_path)

    def stops(path, values):
        if path == "compressed" and values[0, 0, 0] == 2:
            raise KeyboardInterrupt
        return values + 1

    with pytest.raises(KeyboardInterrupt):
        states.advance(1, stops)
    again = HiddenStates(tmp_path, BOTH)
    assert again.block == 0
    assert [value.unique().tolist() for value in again.all("dense")] == [[0.0], [1.0], [2.0], [3.0]]
    again.advance(1, lambda _path, values: values + 1)
    # One of two files has its final name: the older states count.
    (tmp_path / "block-00002-dense.npy").write_bytes((tmp_path / "block-00001-dense.npy").read_bytes())
    assert HiddenStates(tmp_path, BOTH).block == 1
