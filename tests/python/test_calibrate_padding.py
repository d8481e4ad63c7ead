"""Padding does not count, and a text is cut as the model and its tokenizer want it."""

import re

import numpy as np
import pytest
from armor_core.commands import calibrate
from tiny_models import (
    BOS,
    TEXT,
    check,
    collect,
    inputs_of,
    layers,
    load,
    pieces,
    rows,
    save,
    text,
    tokenizer,
    torch,
    transformers,
    watch,
)

pytestmark = pytest.mark.field

FAMILIES = ["llama", "gpt2", "opt", "bloom", "gpt_neox", "qwen2_moe", "mixtral", "gpt_oss", "llama4", "llava"]


def compare(one, other):
    """Hessians are equal but for rounding, and all else exactly."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        if value.dtype == np.float32:
            np.testing.assert_allclose(value, other[key], rtol=2e-4, atol=1e-6, err_msg=key)
        else:
            np.testing.assert_array_equal(value, other[key], key)


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_batches_give_what_single_sequences_give(family, tmp_path):
    folder = save(tmp_path / "model", family, bos=True)
    given = ("--kind", "full", "--tokens", 130, "--sequence", 40)
    alone = collect(folder, tmp_path / "alone.safetensors", *given)
    compare(alone, collect(folder, tmp_path / "batched.safetensors", *given, "--batch", 3))


def test_all_experts_do_not_count_padding(tmp_path):
    folder = save(tmp_path / "model", "mixtral")
    given = ("--tokens", 90, "--sequence", 40, "--all-experts")
    alone = collect(folder, tmp_path / "alone.safetensors", *given)
    assert alone["model.layers.1.block_sparse_moe.experts.3.w2.tokens"].tolist() == [90]
    compare(alone, collect(folder, tmp_path / "batched.safetensors", *given, "--batch", 3))


def test_experts_whose_padding_cannot_be_told_apart_are_refused_before_the_text_is_run(tmp_path, monkeypatch):
    folder = save(tmp_path / "model", "jetmoe")
    given = ("--tokens", 90, "--sequence", 40)
    tensors = collect(folder, tmp_path / "h.safetensors", *given)
    assert tensors["model.layers.1.mlp.input_linear.tokens"].sum() == 2 * 90
    monkeypatch.setattr(calibrate, "tqdm", lambda *_args, **_settings: pytest.fail("the text was run"))
    with pytest.raises(ValueError, match=r"experts\.input_linear.*do not tell which belong to a mask.*without padding"):
        collect(folder, tmp_path / "h.safetensors", *given, "--batch", 3)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_the_mask_of_a_watcher_in_a_program(family, side, tmp_path):
    model = load(save(tmp_path / "model", family))
    sequences = [pieces(30, 30)[0], pieces(12, 12)[0], pieces(21, 21)[0]]
    numbers = torch.full((3, 30), 7)
    mask = torch.zeros(3, 30, dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        place = slice(30 - len(sequence), 30) if side == "left" else slice(0, len(sequence))
        numbers[row, place], mask[row, place] = torch.tensor(sequence), 1
    found, _ = layers.find_layers(model, exclude=["*.0.*"])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with watch.Watcher(found, "full") as watcher, torch.no_grad():
        with watcher.mask(mask):
            model(input_ids=numbers, attention_mask=mask, position_ids=positions, use_cache=False)
        model(input_ids=torch.tensor([sequences[1]]), use_cache=False)
    name = "model.layers.1.self_attn.o_proj"
    x = rows(inputs_of(model, [name], [*sequences, sequences[1]])[name])
    assert watcher.accumulators[name].tokens == len(x) == 30 + 12 + 21 + 12
    np.testing.assert_allclose(watcher.accumulators[name].hessian(), x.T @ x / len(x), rtol=2e-4, atol=1e-6)
    if family == "mixtral":
        counts = [watcher.accumulators[f"model.layers.1.mlp.experts.down_proj[{expert}]"].tokens for expert in range(5)]
        assert sum(counts) == 2 * len(x)


def test_a_mask_that_does_not_fit_is_refused():
    module = torch.nn.ModuleDict({"up": torch.nn.Linear(4, 4)})
    with watch.Watcher(layers.find_layers(module)[0]) as watcher:
        with pytest.raises(ValueError, match=r"up: .*\[5, 4\].*\[2, 3\].*--batch 1"), watcher.mask(torch.ones(2, 3)):
            module["up"](torch.ones(5, 4))
        with pytest.raises(ValueError, match=r"attention_mask: has shape \[3\]"), watcher.mask(torch.ones(3)):
            pass
        with watcher.mask(torch.tensor([[1, 0, 1], [0, 0, 0]])):
            module["up"](torch.ones(2, 3, 4))
            module["up"](torch.ones(6, 4))
            module["up"](torch.ones(1, 6, 4))
    assert watcher.accumulators["up"].tokens == 6


@pytest.mark.parametrize(("bos", "first"), [(True, [BOS]), (False, [])])
def test_every_sequence_begins_as_the_tokenizer_begins_a_text(bos, first, tmp_path):
    folder = save(tmp_path / "model", "llama", bos=bos)
    assert text.first_tokens(tokenizer(bos=bos), TEXT) == first
    assert text.sequences(pieces(95, 95)[0], first, 40) == pieces(95, 40, first)
    tensors = collect(folder, tmp_path / "h.safetensors", "--tokens", 95, "--sequence", 40)
    name = "model.layers.1.mlp.down_proj"
    x = rows(inputs_of(load(folder), [name], pieces(95, 40, first))[name])
    assert len(x) == 95 + 3 * len(first)
    check(tensors, name, x)


def test_batches_are_padded_at_the_end():
    (numbers, mask), (last, last_mask) = text.batches([[3, 4, 5], [6, 7], [8]], 2)
    assert numbers.shape == mask.shape == (2, 3)
    assert numbers[0].tolist() == [3, 4, 5] and numbers[1, :2].tolist() == [6, 7]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert (last.tolist(), last_mask.tolist()) == ([[8]], [[1]])


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "mpt", "llava"])
def test_sequences_are_cut_to_the_context_of_the_model(family, tmp_path, capsys):
    folder = save(tmp_path / "model", family)
    long = collect(folder, tmp_path / "long.safetensors", "--tokens", 150, "--sequence", 500)
    assert "--sequence: 500 is cut to 64" in capsys.readouterr().err
    compare(long, collect(folder, tmp_path / "short.safetensors", "--tokens", 150, "--sequence", 64))
    assert "is cut" not in capsys.readouterr().err
    assert {value.item() for key, value in long.items() if key.endswith(".tokens")} == {150}


def test_a_model_without_a_context_length_runs_the_whole_sequence(tmp_path, capsys):
    folder = save(tmp_path / "model", "bloom")
    collect(folder, tmp_path / "h.safetensors", "--tokens", 100, "--sequence", 90)
    assert not re.search("is cut", capsys.readouterr().err)


def test_a_sequence_without_room_and_a_text_without_tokens_are_refused(tmp_path):
    folder = save(tmp_path / "model", "llama", bos=True)
    with pytest.raises(ValueError, match="--sequence: 1 leaves no room"):
        collect(folder, tmp_path / "h.safetensors", "--sequence", 1)
    (folder / "text.txt").write_text("")
    with pytest.raises(ValueError, match="holds no token"):
        collect(folder, tmp_path / "h.safetensors")


@pytest.mark.parametrize("bos", [True, False])
def test_a_text_that_is_shorter_than_wanted_is_said(bos, tmp_path, capsys):
    folder = save(tmp_path / "model", "llama", bos=bos)
    collect(folder, tmp_path / "h.safetensors", "--tokens", len(TEXT), "--sequence", 40)
    assert "the text has" not in capsys.readouterr().err
    collect(folder, tmp_path / "h.safetensors", "--tokens", len(TEXT) + 1, "--sequence", 40)
    said = f"the text has {len(TEXT)} tokens, fewer than --tokens {len(TEXT) + 1}\n"
    assert said in capsys.readouterr().err


def test_a_text_that_is_not_utf_8_is_named(tmp_path):
    folder = save(tmp_path / "model", "llama")
    (folder / "text.txt").write_bytes("Übermut".encode("latin-1"))
    with pytest.raises(ValueError, match=r"text\.txt is not UTF-8, from byte 0 on: "):
        collect(folder, tmp_path / "h.safetensors")


@pytest.mark.parametrize("name", text.CONTEXT_LENGTHS)
def test_the_context_length_has_several_names(name):
    config = transformers.BloomConfig(**{name: 96})
    assert text.context_length(config) == 96
    assert text.context_length(transformers.BloomConfig()) is None
    assert text.context_length(transformers.XLNetConfig()) is None  # It says -1, without a limit.
