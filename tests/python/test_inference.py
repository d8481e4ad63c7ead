"""Compressed models in transformers: their layers compute with the factors, and are written again as they were."""

import importlib
import subprocess
import sys

import pytest
from conftest import armor, command
from safetensors import safe_open
from tiny_models import CONFIGS, save, torch, transformers

pytestmark = pytest.mark.field
inference, operator, quantizer = (
    importlib.import_module(f"armor_core.{name}") for name in ("inference", "inference.operator", "inference.quantizer")
)
load_module, stored_module = (importlib.import_module(f"armor_core.model.{name}") for name in ("load", "stored"))
main = importlib.import_module("armor_core.commands.main")

SIZE = ("--tokens", 320, "--sequence", 40, "--block", 4, "--iterations", 3)
TOKENS = torch.tensor([[3, 5, 7, 9, 11, 2], [8, 250, 31, 77, 256, 0]])
FAMILIES = [name for name in CONFIGS if name != "dbrx"]
CLASSES = {"llava": "AutoModelForImageTextToText", "qwen3_vl_moe": "AutoModelForImageTextToText"}


def compress(folder, out, *more):
    """Compresses in this process."""
    given = ["compress", folder, out, "--text", folder / "text.txt", *SIZE, *more]
    options = main.parse([str(argument) for argument in given])
    options.run(options)
    return out


def from_pretrained(folder, family="llama", **named):
    return getattr(transformers, CLASSES.get(family, "AutoModelForCausalLM")).from_pretrained(folder, **named)


def logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def contents(folder):
    """The tensors of all files, and their metadata."""
    tensors, words = {}, {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            words |= file.metadata()
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - is no dict
    return tensors, words


def assert_same(one, other):
    """The same names, types, bytes and words."""
    (ours, our_words), (theirs, their_words) = contents(one), contents(other)
    assert our_words == their_words
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, theirs[name]), name


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A compressed model in f32."""
    folder = tmp_path_factory.mktemp("llama")
    return compress(save(folder / "model", "llama"), folder / "out")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_computes_with_its_factors_and_is_written_as_it_was(family, tmp_path):
    out = compress(save(tmp_path / "model", family), tmp_path / "out")
    stored = stored_module.StoredModel(out)
    expected = logits(load_module.load(stored))
    model = from_pretrained(out, family)
    layers = [module for module in model.modules() if isinstance(module, inference.ArmorLinear)]
    assert len(layers) == stored.layer_count()
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)
    model.save_pretrained(tmp_path / "again")
    assert_same(out, tmp_path / "again")
    assert torch.equal(logits(from_pretrained(tmp_path / "again", family)), logits(model))


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
def test_mixed_types_survive(dtype, tmp_path):
    out = compress(save(tmp_path / "model", "gpt2"), tmp_path / "out", "--dtype", dtype)
    for kind in (torch.float32, torch.bfloat16):
        model = from_pretrained(out, dtype=kind)
        assert logits(model).dtype == kind
        exact = logits(load_module.load(stored_module.StoredModel(out), torch.float32))
        tolerance = 0.05 if kind == torch.bfloat16 else 1e-4
        torch.testing.assert_close(logits(model).float(), exact, rtol=tolerance, atol=tolerance)
    from_pretrained(out).save_pretrained(tmp_path / "again")
    assert_same(out, tmp_path / "again")


def test_other_blocks_for_some_layers(tmp_path):
    more = ["--override", "*.down_proj", "block=8", "pattern=1:4"]
    out = compress(save(tmp_path / "model", "llama"), tmp_path / "out", *more)
    expected = logits(load_module.load(stored_module.StoredModel(out)))
    model = from_pretrained(out)
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(inference.unpack(model)), expected, rtol=1e-4, atol=1e-5)


def test_the_operator_takes_any_tensor_of_vectors(llama):
    layer = from_pretrained(llama).model.layers[0].mlp.down_proj
    weight = torch.from_numpy(layer.layer.unpack().reconstruct()).double()
    generator = torch.Generator().manual_seed(1)
    for shape in [(24,), (1, 24), (7, 24), (2, 3, 24), (2, 0, 24), (0, 24)]:
        x = torch.randn(shape, generator=generator)
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)):
            y = layer(x.to(dtype))
            assert y.dtype == dtype and y.shape == (*shape[:-1], 16)
            torch.testing.assert_close(y.double(), x.to(dtype).double() @ weight.T, rtol=tolerance, atol=tolerance)
    x = torch.randn(24, 9, generator=generator).T
    assert not x.is_contiguous()
    assert torch.equal(layer(x), layer(x.contiguous()))
    assert torch.equal(layer(x[:, ::1][::2]), layer(x.contiguous())[::2])
    given = (torch.randn(3, 24), layer._number, 16)
    torch.library.opcheck(operator.apply, given, test_utils=("test_schema", "test_faketensor"))


def test_it_compiles_as_one_graph(llama):
    model = from_pretrained(llama)
    layer = model.model.layers[0].mlp
    x = torch.randn(2, 5, 16)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(x), layer(x))


def test_a_packed_layer_says_what_it_cannot_do(llama):
    model = from_pretrained(llama)
    with pytest.raises(RuntimeError, match=r"armor_core\.inference\.unpack\(model\)"):
        model(input_ids=TOKENS).logits.sum().backward()
    with pytest.raises(RuntimeError, match="run on the CPU, not on meta"):
        model.to("meta")
    assert torch.equal(logits(from_pretrained(llama).to(torch.float32)), logits(from_pretrained(llama)))


def test_unpacked_layers_have_the_gradients_of_the_product(llama):
    layer = from_pretrained(llama).model.layers[1].mlp.gate_proj
    made = inference.unpack(torch.nn.Sequential(layer), torch.float64)[0]
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *_: made(x), tuple(made.parameters()))
    exact = x @ torch.from_numpy(layer.layer.unpack().reconstruct()).double().T
    torch.testing.assert_close(made(x), exact, rtol=1e-6, atol=1e-7)


def test_training_changes_the_factors_and_keeps_the_mask(llama, tmp_path):
    model = from_pretrained(llama)
    before = logits(model)
    inference.unpack(model, train="wrappers")
    trained = {name.rpartition(".")[2] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {"left", "right"} <= trained and "values" not in trained
    inference.pack(model)
    assert torch.equal(logits(model), before)
    inference.unpack(model)
    factors = [p for name, p in model.named_parameters() if name.endswith(("left", "values", "right"))]
    steps = torch.optim.Adam(factors, 1e-2)
    losses = []
    for _ in range(8):
        loss = model(input_ids=TOKENS, labels=TOKENS).loss
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    tuned = logits(model)
    model.save_pretrained(tmp_path / "tuned")
    inference.pack(model)
    torch.testing.assert_close(logits(model), tuned, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(from_pretrained(tmp_path / "tuned")), tuned, rtol=1e-4, atol=1e-5)
    (ours, _), (theirs, _) = contents(llama), contents(tmp_path / "tuned")
    masks = [name for name in ours if name.endswith("bitmask")]
    assert masks and all(torch.equal(ours[name], theirs[name]) for name in masks)
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours if name.endswith("compressed"))


@pytest.mark.parametrize("train", ["all", "none"])
def test_the_core_that_is_kept_for_products_follows_its_values(train, llama):
    layer = inference.unpack(from_pretrained(llama), train=train).model.layers[0].mlp.up_proj
    x = torch.randn(3, 16)
    with torch.no_grad():
        before = layer(x)
        layer.values.mul_(2)
        torch.testing.assert_close(layer(x), 2 * before)
        other = {"values": 2 * layer.values}
        torch.testing.assert_close(torch.func.functional_call(layer, other, (x,)), 4 * before)
        torch.testing.assert_close(layer(x), 2 * before)
        layer.values = torch.nn.Parameter(3 * layer.values, requires_grad=layer.values.requires_grad)
        torch.testing.assert_close(layer(x), 6 * before)
        layer.values.data = layer.values.data / 6
        torch.testing.assert_close(layer(x), before)
        torch.testing.assert_close(layer.double()(x.double()).float(), before)
    with torch.inference_mode():
        model = inference.unpack(from_pretrained(llama), train="none")
        torch.testing.assert_close(model.model.layers[0].mlp.up_proj(x), before)


def test_what_is_stored_of_a_layer_stays_when_the_layer_is_trained(llama):
    layer = inference.unpack(from_pretrained(llama)).model.layers[0].mlp.up_proj
    file = importlib.import_module("armor_core.inference.unpack").file_of(layer, ("float32",) * 3)
    before = {end: tensor.clone() for end, tensor in file.tensors.items()}
    with torch.no_grad():
        for tensor in layer.parameters():
            tensor.add_(1)
    assert all(torch.equal(tensor, before[end]) for end, tensor in file.tensors.items())


def test_a_model_is_copied_and_pickled(llama):
    import copy
    import pickle

    model = from_pretrained(llama)
    expected = logits(model)
    assert torch.equal(logits(copy.deepcopy(model)), expected)
    assert torch.equal(logits(pickle.loads(pickle.dumps(model))), expected)
    inference.unpack(model)
    torch.testing.assert_close(logits(copy.deepcopy(model)), expected, rtol=1e-4, atol=1e-5)


def test_a_model_that_is_saved_into_its_own_folder_is_the_one_that_is_loaded(llama, tmp_path):
    import shutil

    folder = shutil.copytree(llama, tmp_path / "out")
    model = inference.unpack(from_pretrained(folder))
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.values.mul_(2)
    model.save_pretrained(folder)
    torch.testing.assert_close(logits(from_pretrained(folder)), logits(model), rtol=1e-4, atol=1e-5)
    expected = logits(load_module.load(stored_module.StoredModel(folder)))
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)


def test_an_input_of_another_width_is_refused(llama):
    layer = from_pretrained(llama).model.layers[0].mlp.up_proj
    for count in (0, 3):
        with pytest.raises(ValueError, match="the last dimension of x is 17, expected 16"):
            layer(torch.randn(count, 17))


@pytest.mark.parametrize("train", ["some", None])
def test_what_to_train_is_named(train, llama):
    with pytest.raises(ValueError, match="expected one of all, wrappers, none"):
        inference.unpack(from_pretrained(llama), train=train)


@pytest.mark.parametrize("kind", ["dense-core", "sparse-24-bitmask"])
def test_other_formats_are_refused_by_name(kind, tmp_path):
    out = compress(save(tmp_path / "model", "llama"), tmp_path / "out", "--format", kind)
    with pytest.raises(ValueError, match=f"stored in the format {kind}, and only factors can be run here"):
        from_pretrained(out)


def test_a_folder_without_its_factors_is_refused(llama, tmp_path):
    import shutil

    shutil.copytree(llama, tmp_path / "out")
    (tmp_path / "out/armor-model.safetensors").unlink()
    with pytest.raises((OSError, ValueError), match="safetensors"):
        from_pretrained(tmp_path / "out")


@pytest.mark.parametrize("first", ["armor_core", "transformers"])
def test_importing_the_package_is_enough(first, llama):
    second = {"armor_core": "transformers", "transformers": "armor_core"}[first]
    program = (
        f"import sys, {first}\n"
        f"assert {first!r} != 'armor_core' or 'torch' not in sys.modules\n"
        f"import {second}\n"
        "from transformers import AutoModelForCausalLM\n"
        f"print(type(AutoModelForCausalLM.from_pretrained({str(llama)!r}).model.layers[0].mlp.up_proj).__name__)\n"
    )
    _, environment = command()
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "ArmorLinear"


def test_generate_writes_what_the_multiplied_out_model_writes(llama):
    from armor_core.calibration.text import tokenizer_of

    status, written, told = armor("generate", llama, "--prompt", "Two of every four", "--tokens", 20)
    assert status == 0, told
    tokenizer = tokenizer_of(llama)
    inputs = tokenizer("Two of every four", return_tensors="pt")
    model = load_module.load(stored_module.StoredModel(llama))
    expected = model.generate(**inputs, max_new_tokens=20, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert written.strip() == tokenizer.decode(expected, skip_special_tokens=True).strip()
    assert "a second" in told
    drawn = [armor("generate", llama, "--prompt", "Two", "--tokens", 9, "--temperature", 2, "--seed", 3) for _ in "ab"]
    assert drawn[0][1] == drawn[1][1] != ""


@pytest.mark.parametrize(
    ("given", "problem"),
    [(["--prompt", ""], "--prompt: is empty"), (["--prompt", "a", "--temperature", "0"], "is not above 0")],
)
def test_generate_refuses(given, problem, llama):
    status, _, told = armor("generate", llama, *given)
    assert status == 2 and problem in told


def test_memory_holds_the_packed_factors_alone(llama):
    model = from_pretrained(llama)
    kept = ("embed", "lm_head", "norm")
    assert all(any(part in name for part in kept) for name, _ in model.named_parameters())
    layers = [module for module in model.modules() if isinstance(module, inference.ArmorLinear)]
    assert len(layers) == 14 and all(layer.layer.sizes.bytes > 0 for layer in layers)
