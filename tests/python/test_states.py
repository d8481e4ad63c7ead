"""Hidden states in files: whole or not there, whatever happens while they are written."""

import pickle
import signal

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


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_damaged_file_is_named(tmp_path, content):
    states = begun(tmp_path)
    file = states.shards()[1].file("dense")
    file.write_bytes(file.read_bytes()[:150] if content is None else content)
    with pytest.raises(ValueError, match=rf"--work: .*{file.name} is damaged; remove"):
        values(states, "dense")


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    states = begun(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    limit, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
    try:
        with pytest.raises(OSError, match=r"--work: .*block-00001-dense-00000.npy cannot be written"):
            advance(states, {"dense": 1, "compressed": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
        signal.signal(signal.SIGXFSZ, ignored)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_run_that_was_stopped_goes_on_where_all_shards_are_whole(tmp_path):
    states = begun(tmp_path)
    (done, path), (stopped, _) = states.missing(1)[:2]
    done.write(path, (rows + 1 for rows in done.before().read(path)))
    name = stopped.file(path).name
    (tmp_path / f"unfinished-{name}-0").write_bytes(b"what a kill leaves")
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
