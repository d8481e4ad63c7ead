"""Layers in memory find their tensors on disk, whatever these are called there."""

import json

import pytest
from tiny_models import collect, layers, names, save, tensors_on_disk, torch

pytestmark = pytest.mark.field


def linear(*shape):
    torch.manual_seed(sum(shape))
    return torch.nn.Linear(*shape, bias=False)


def found(modules, tensors, folder):
    """Matches modules with a file that holds tensors: (stem, layers, transposed) of each, and what is left."""
    tensors_on_disk.save_file(
        {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors"
    )
    stored, unmatched = names.match(layers.find_layers(modules)[0], names.Checkpoint(folder))
    return sorted((weight.stem, weight.layers, weight.transposed) for weight in stored), unmatched


def nested(**modules):
    """Modules by names with a colon for each dot."""
    root = torch.nn.Module()
    for name, module in modules.items():
        *path, last = name.split(":")
        parent = root
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, torch.nn.Module())
            parent = getattr(parent, part)
        parent.add_module(last, module)
    return root


def test_equal_names_come_first(tmp_path):
    up = linear(6, 4)
    tensors = {"up.weight": up.weight, "model.up.weight": up.weight}
    assert found(nested(up=up), tensors, tmp_path) == ([("up", ["up"], False)], [])


def test_a_prefix_is_found_by_shape_numbers_and_values(tmp_path):
    text, vision = linear(6, 6), linear(6, 5)
    twin, other = torch.nn.Linear(6, 6, bias=False), torch.nn.Linear(6, 6, bias=False)
    modules = nested(
        **{"model:text:layers:0:up": text, "model:vision:layers:0:up": twin, "model:text:layers:1:up": vision}
    )
    tensors = {
        "text.layers.0.up.weight": text.weight,
        "vision.layers.0.up.weight": twin.weight,
        "other.layers.0.up.weight": other.weight,
        "text.layers.1.up.weight": vision.weight,
        "text.layers.2.up.weight": text.weight,
    }
    assert found(modules, tensors, tmp_path) == (
        [
            ("text.layers.0.up", ["model.text.layers.0.up"], False),
            ("text.layers.1.up", ["model.text.layers.1.up"], False),
            ("vision.layers.0.up", ["model.vision.layers.0.up"], False),
        ],
        [],
    )


@pytest.mark.parametrize("shape", [(6, 4), (6, 6)])
def test_a_transposed_weight_is_seen_even_if_it_is_square(shape, tmp_path):
    up = linear(*shape)
    assert found(nested(up=up), {"up.weight": up.weight.T}, tmp_path) == ([("up", ["up"], True)], [])


def test_other_values_or_shapes_are_listed_side_by_side(tmp_path):
    up, down = linear(6, 4), linear(4, 6)
    modules = nested(**{"layers:0:up": up, "layers:0:down": down, "layers:1:up": linear(6, 4)})
    tensors = {"layers.0.up.weight": up.weight + 1, "layers.0.down_proj.weight": down.weight, "head.weight": up.weight}
    stored, unmatched = found(modules, tensors, tmp_path)
    assert stored == [("layers.0.down_proj", ["layers.0.down"], False)]
    assert unmatched == [
        ("layers.0.up.weight [4, 6]", "layers.0.up.weight [4, 6]"),
        ("layers.1.up.weight [4, 6]", "layers.0.up.weight [4, 6]"),
    ]


def test_a_tie_of_names_and_values_is_not_guessed(tmp_path):
    up = linear(6, 4)
    stored, unmatched = found(nested(up=up), {"a.x.weight": up.weight, "b.x.weight": up.weight}, tmp_path)
    assert (stored, len(unmatched)) == ([], 1)


def test_modules_that_share_a_weight_share_its_tensor(tmp_path):
    one, two = linear(6, 4), linear(6, 4)
    two.weight = one.weight
    assert found(nested(one=one, two=two), {"one.weight": one.weight}, tmp_path) == (
        [("one", ["one", "two"], False)],
        [],
    )


@pytest.mark.parametrize("interleaved", [False, True])
def test_halves_on_disk_are_found(interleaved, tmp_path):
    fused = linear(6, 8)
    halves = (fused.weight[::2], fused.weight[1::2]) if interleaved else fused.weight.chunk(2)
    tensors = {"0.gate.weight": halves[0], "0.up.weight": halves[1]}
    stored = [("0.gate", ["0.gate_up"], False), ("0.up", ["0.gate_up"], False)]
    assert found(nested(**{"0:gate_up": fused}), tensors, tmp_path) == (stored, [])
    del tensors["0.up.weight"]
    stored, unmatched = found(nested(**{"0:gate_up": fused}), tensors, tmp_path)
    assert (stored, len(unmatched)) == ([], 1)


def test_without_values_in_memory_names_and_shapes_must_do(tmp_path):
    up = linear(6, 4)
    modules = nested(**{"model:up": linear(6, 4)}).to("meta")
    assert found(modules, {"up.weight": up.weight}, tmp_path) == ([("up", ["model.up"], False)], [])
    stored, unmatched = found(modules, {"a.up.weight": up.weight, "b.up.weight": up.weight}, tmp_path)
    assert (stored, len(unmatched)) == ([], 1)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_names_and_shapes_must_do_for_float8_on_disk(dtype, tmp_path):
    up = linear(6, 4)
    scale = up.weight.abs().max() / 64
    tensors = {"layers.0.up.weight": (up.weight / scale).to(dtype), "layers.0.up.weight_scale_inv": scale[None, None]}
    wanted = ([("layers.0.up", ["model.layers.0.up"], False)], [])
    assert found(nested(**{"model:layers:0:up": up}), tensors, tmp_path) == wanted
    stored, unmatched = found(nested(**{"model:layers:0:up": linear(4, 6)}), tensors, tmp_path)
    assert (stored, len(unmatched)) == ([], 1)
    stored, unmatched = found(nested(**{"model:layers:0:down": up}), tensors, tmp_path)
    assert (stored, len(unmatched)) == ([], 1)


def test_other_number_types_are_compared_as_those_in_memory(tmp_path):
    up = linear(6, 4)
    tensors = {"up.weight": up.weight.clone()}
    assert found(nested(up=up.to(torch.bfloat16)), tensors, tmp_path) == ([("up", ["up"], False)], [])


def test_files_are_chosen_as_transformers_does(tmp_path):
    tensors_on_disk.save_file({"a.weight": torch.ones(2, 2)}, tmp_path / "one.safetensors")
    tensors_on_disk.save_file({"b.weight": torch.ones(2, 2)}, tmp_path / "two.safetensors")
    tensors_on_disk.save_file({"c.weight": torch.ones(2, 2)}, tmp_path / "consolidated.safetensors")
    with pytest.raises(ValueError, match=r"holds neither model.safetensors nor model.safetensors.index.json"):
        names.Checkpoint(tmp_path)
    index = {"weight_map": {"a.weight": "one.safetensors", "b.weight": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert sorted(names.Checkpoint(tmp_path).shapes) == ["a.weight", "b.weight"]
    tensors_on_disk.save_file({"d.weight": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    assert sorted(names.Checkpoint(tmp_path).shapes) == ["d.weight"]


def rename(folder, change):
    """Changes the names of a model's tensors on disk."""
    file = folder / "model.safetensors"
    tensors_on_disk.save_file(
        {change(name): tensor for name, tensor in tensors_on_disk.load_file(file).items()}, file, {"format": "pt"}
    )


def test_a_base_model_on_disk_keeps_its_names(tmp_path):
    folder = save(tmp_path / "model", "gpt2")
    before = collect(folder, tmp_path / "before.safetensors", "--tokens", 40)
    rename(folder, lambda name: name.removeprefix("transformer."))
    after = collect(folder, tmp_path / "after.safetensors", "--tokens", 40)
    assert {key.removeprefix("transformer.") for key in before} == after.keys()


def test_what_is_not_on_disk_is_a_warning_and_nothing_at_all_an_error(tmp_path, capsys):
    folder = save(tmp_path / "model", "llama")
    whole = collect(folder, tmp_path / "whole.safetensors", "--tokens", 40)
    assert "not found" not in capsys.readouterr().err
    rename(folder, lambda name: name.replace("layers.0", "blocks.0"))
    part = collect(folder, tmp_path / "part.safetensors", "--tokens", 40)
    assert part.keys() == {key for key in whole if "layers.1" in key}
    errors = capsys.readouterr().err
    assert "warning: 7 weights were not found in the files of the model" in errors
    assert "  model.layers.0.mlp.up_proj.weight [24, 16]  |  model.blocks.0.mlp.up_proj.weight [24, 16]\n" in errors
    rename(folder, lambda name: name.replace("layers.1", "blocks.1"))
    with pytest.raises(
        ValueError, match=r"no layer of the model was found in its files:\n(.*\n)*.*layers\.1.*\|.*blocks\.1"
    ):
        collect(folder, tmp_path / "none.safetensors", "--tokens", 40)
    assert not list(tmp_path.glob("none.*"))
