"""Hidden states in files: whole or not there, whatever happens while they are written."""

import pickle

import pytest

pytest.importorskip("torch")

import torch
from armor_core.compression.states import SEQUENCES, HiddenStates

BOTH = ("dense", "compressed")
COUNT = 2 * SEQUENCES + 1


def hidden(index):
    return torch.full((1, 3, 2), float(index))


def begun(folder):
    states = HiddenStates(folder, BOTH, COUNT)
    assert states.block is None
    states.begin(hidden)
    return states


def values(states, path):
    """The numbers that sequences are full of."""
    found = [rows for shard in states.shards() for rows in shard.read(path)]
    assert all(rows.shape == (1, 3, 2) and rows.dtype == torch.float32 for rows in found)
    return [value for rows in found for value in rows.unique().tolist()]


def advance(states, more):
    """Adds a number for each path, in all shards that are missing."""
    for shard, path in states.missing(states.block + 1):
        shard.write(path, (rows + more[path] for rows in shard.before().read(path)))


def test_they_begin_equal_and_advance_apart(tmp_path):
    states = begun(tmp_path)
    assert states.block == 0
    assert values(states, "dense") == values(states, "compressed") == list(range(COUNT))
    advance(states, {"dense": 1, "compressed": 2})
    assert values(states, "dense") == list(range(COUNT))
    states.move(1)
    assert values(states, "dense") == list(range(1, COUNT + 1))
    assert values(states, "compressed") == list(range(2, COUNT + 2))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"block-00001-{path}-{shard:05}.npy" for path in sorted(BOTH) for shard in range(3)]


def test_a_run_that_was_stopped_goes_on_where_all_shards_are_whole(tmp_path):
    states = begun(tmp_path)

    def stops(rows):
        for index, row in enumerate(rows):
            if index == 2:
                raise KeyboardInterrupt
            yield row + 1

    (done, path), (stopped, _) = states.missing(1)[:2]
    done.write(path, (rows + 1 for rows in done.before().read(path)))
    with pytest.raises(KeyboardInterrupt):
        stopped.write(path, stops(stopped.before().read(path)))
    assert len(list(tmp_path.glob("unfinished-*"))) == 1
    again = HiddenStates(tmp_path, BOTH, COUNT)
    assert again.block == 0 and not list(tmp_path.glob("unfinished-*"))
    assert values(again, "dense") == list(range(COUNT))
    assert len(again.missing(1)) == 5
    advance(again, {"dense": 1, "compressed": 1})
    assert HiddenStates(tmp_path, BOTH, COUNT).block == 1
    assert HiddenStates(tmp_path, BOTH, COUNT + 8).block is None


def test_a_beginning_that_was_stopped_is_gone_on_with(tmp_path):
    asked = []

    def made(index, stop=None):
        if index == stop:
            raise KeyboardInterrupt
        asked.append(index)
        return hidden(index)

    with pytest.raises(KeyboardInterrupt):
        HiddenStates(tmp_path, BOTH, COUNT).begin(lambda index: made(index, stop=SEQUENCES + 3))
    again = HiddenStates(tmp_path, BOTH, COUNT)
    assert again.block is None
    again.begin(made)
    assert values(again, "compressed") == list(range(COUNT))
    assert (asked.count(0), asked.count(SEQUENCES)) == (1, 2)


def test_a_shard_is_read_in_another_process_by_its_place_alone(tmp_path):
    shard = begun(tmp_path).shards()[1]
    file = pickle.dumps(shard)
    assert len(file) < 1000
    assert torch.equal(torch.cat(list(pickle.loads(file).read("dense"))), torch.cat(list(shard.read("dense"))))
