"""Experts that a model stacks in one parameter have the Hessians of their own inputs, recomputed here in f64."""

import re

import numpy as np
import pytest
from tiny_models import (
    check,
    collect,
    inputs_of,
    layers,
    load,
    pieces,
    rows,
    save,
    tensors_on_disk,
    torch,
    watch,
    weights,
)

pytestmark = pytest.mark.field

TOKENS, LENGTH = 150, 40
FUSED = ["gpt_oss", "llama4"]
APART = ["qwen2_moe", "mixtral"]


def activation(family, product):
    """What goes into the down projection, of the product with gate and up."""
    if family == "gpt_oss":
        gate, up = product[..., ::2].clamp(max=7), product[..., 1::2].clamp(-7, 7)
        return (up + 1) * gate * torch.sigmoid(1.702 * gate)
    gate, up = product.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def expert_inputs(family, model, sequences, *, everyone=False):
    """The inputs of both projections of every expert, by (layer, expert), in f64."""
    names = [name for name, module in model.named_modules() if name.endswith("experts")]
    found = {}
    for layer, (name, calls) in enumerate(inputs_of(model, names, sequences).items()):
        experts = model.get_submodule(name)
        for expert in range(len(experts.gate_up_proj)):
            x = torch.cat(
                [rows_of(family, call, expert, len(experts.gate_up_proj), everyone) for call in calls]
            ).double()
            weight = experts.gate_up_proj[expert].detach().double()
            product = x @ (weight if family in FUSED else weight.T)
            if family == "gpt_oss":
                product = product + experts.gate_up_proj_bias[expert].detach().double()
            found[layer, expert] = x.numpy(), activation(family, product).numpy()
    return found


def rows_of(family, call, expert, experts, everyone):
    """The tokens that a call sends to an expert."""
    if family == "llama4":  # Scaled copies for every expert one after the other, zero where not routed.
        own = call[0].reshape(experts, -1, call[0].shape[-1])[expert]
        return own[own.abs().sum(-1) > 0]
    hidden = call[0].reshape(-1, call[0].shape[-1])
    return hidden if everyone else hidden[(call[1] == expert).any(-1)]


def stems(family, layer, expert):
    """The names on disk of what takes the inputs of gate and up, and of down."""
    if family == "mixtral":
        block = f"model.layers.{layer}.block_sparse_moe.experts.{expert}"
        return [f"{block}.w1", f"{block}.w3"], f"{block}.w2"
    if family == "qwen2_moe":
        block = f"model.layers.{layer}.mlp.experts.{expert}"
        return [f"{block}.gate_proj", f"{block}.up_proj"], f"{block}.down_proj"
    block = f"model.layers.{layer}.{'feed_forward' if family == 'llama4' else 'mlp'}.experts"
    return [f"{block}.gate_up_proj"], f"{block}.down_proj"


def check_experts(family, tensors, found):
    for (layer, expert), (x, y) in found.items():
        first, second = stems(family, layer, expert)
        for stem, inputs in [*((stem, x) for stem in first), (second, y)]:
            if family in APART and len(inputs) == 0:
                assert f"{stem}.tokens" not in tensors
            else:
                stacked = {"expert": expert, "transposed": True} if family in FUSED else {}
                check(tensors, stem, inputs, **stacked)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
@pytest.mark.parametrize("family", [*APART, *FUSED])
def test_each_expert_has_the_hessian_of_its_own_inputs(family, kind, tmp_path):
    folder = save(tmp_path / "model", family)
    tensors = collect(folder, tmp_path / "h.safetensors", "--kind", kind, "--tokens", TOKENS, "--sequence", LENGTH)
    found = expert_inputs(family, load(folder), pieces(TOKENS, LENGTH))
    assert len(found) == 10
    check_experts(family, tensors, found)
    for stem in {stem for place in found for stem in (*stems(family, *place)[0], stems(family, *place)[1])}:
        assert stem in weights(folder) or f"{stem}.weight" in weights(folder)
    counts = [len(x) for (layer, _), (x, _) in found.items() if layer == 0]
    assert sum(counts) == TOKENS * (1 if family == "llama4" else 2)


@pytest.mark.parametrize("family", [*APART, *FUSED])
def test_shapes_are_those_of_the_weights(family, tmp_path):
    folder = save(tmp_path / "model", family)
    disk = weights(folder)
    tensors = collect(folder, tmp_path / "h.safetensors", "--tokens", TOKENS)
    for key, value in tensors.items():
        stem, _, kind = key.rpartition(".")
        if kind == "hessian_diag":
            shape = disk.get(stem, disk.get(f"{stem}.weight")).shape
            inputs = shape[-2] if tensors[f"{stem}.transposed"].item() else shape[-1]
            assert value.shape == (*shape[:-2], inputs)
            assert tensors[f"{stem}.tokens"].shape == (shape[:-2] or (1,))


@pytest.mark.parametrize("family", [*APART, *FUSED])
def test_an_expert_without_tokens_is_named(family, tmp_path, capsys):
    folder = save(tmp_path / "model", family)
    tensors = collect(folder, tmp_path / "h.safetensors", "--tokens", 1)
    errors = capsys.readouterr().err
    named = re.search(r"since no token reached the expert: (.*)", errors)[1].split(", ")
    found = expert_inputs(family, load(folder), pieces(1, 1))
    wanted = []
    for (layer, expert), (x, _) in found.items():
        first, second = stems(family, layer, expert)
        if len(x) == 0:
            wanted += [f"{stem}[{expert}]" if family in FUSED else stem for stem in (*first, second)]
            if family in FUSED:
                assert tensors[f"{second}.tokens"][expert] == 0
                assert not tensors[f"{second}.hessian_diag"][expert].any()
    assert wanted
    assert sorted(named) == sorted(wanted)


@pytest.mark.parametrize("family", [*APART, "gpt_oss"])
def test_all_experts_get_every_token_and_nothing_else_changes(family, tmp_path):
    folder = save(tmp_path / "model", family)
    given = ("--tokens", TOKENS, "--sequence", LENGTH)
    routed = collect(folder, tmp_path / "routed.safetensors", *given)
    tensors = collect(folder, tmp_path / "all.safetensors", *given, "--all-experts")
    found = expert_inputs(family, load(folder), pieces(TOKENS, LENGTH), everyone=True)
    assert {len(x) for x, _ in found.values()} == {TOKENS}
    check_experts(family, tensors, found)
    others = [key for key in routed if ".experts" not in key]
    assert others
    for key in others:
        np.testing.assert_array_equal(routed[key], tensors[key])


def test_all_experts_is_refused_where_it_cannot_be_done(tmp_path):
    for family, message in (("llama4", "numbers of each token's experts"), ("llama", "no experts")):
        folder = save(tmp_path / family, family)
        with pytest.raises(ValueError, match=message):
            collect(folder, tmp_path / "h.safetensors", "--all-experts")


def test_experts_that_cannot_be_observed_are_refused_by_name(tmp_path):
    folder = save(tmp_path / "model", "dbrx")
    with pytest.raises(ValueError, match=r"transformer\.blocks\.0\.ffn\.experts\.mlp\.w1: .* cannot be observed"):
        collect(folder, tmp_path / "h.safetensors")
    tensors = collect(folder, tmp_path / "h.safetensors", "--exclude", "*.experts.mlp.*", "--tokens", 40)
    assert {key.split(".")[-2] for key in tensors} == {"Wqkv", "out_proj"}


@pytest.mark.parametrize("family", [*APART, "gpt_oss", "llama4"])
def test_routers_are_left_out_and_said(family, tmp_path, capsys):
    folder = save(tmp_path / "model", family)
    tensors = collect(folder, tmp_path / "h.safetensors", "--tokens", 40)
    assert re.search(r"left out, a router: .*(gate|router)", capsys.readouterr().err)
    assert not [key for key in tensors if re.search(r"\.(gate|router)\.", key)]
    if family == "qwen2_moe":
        assert not [key for key in tensors if "shared_expert_gate" in key]
        assert [key for key in tensors if "shared_expert.down_proj" in key]


class Experts(torch.nn.Module):
    """Experts of one's own, used in a way that is chosen."""

    def __init__(self, use):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, 6, 6))
        self.use = use

    def forward(self, x):
        return self.use(x, self.weight)


X = torch.arange(1.0, 25).reshape(4, 6).sin()
USES = {
    "linear": (lambda x, w: torch.stack([torch.nn.functional.linear(x, w[e]) for e in range(3)]), False),
    "matmul": (lambda x, w: torch.stack([x @ w[e] for e in range(3)]), True),
    "left factor": (lambda x, w: torch.stack([w[e] @ x.T for e in range(3)]), False),
    "unbound": (lambda x, w: torch.stack([x @ one.t() for one in w.unbind()]), False),
    "halves": (lambda x, w: torch.stack([x @ half.T for one in w for half in one.chunk(2)]), False),
    "interleaved": (lambda x, w: torch.stack([x @ half for one in w for half in (one[:, ::2], one[:, 1::2])]), True),
    "bias": (lambda x, w: torch.stack([torch.nn.functional.linear(x, w[e], torch.ones(6)) for e in range(3)]), False),
    "batched": (lambda x, w: torch.bmm(x.expand(3, 4, 6), w), True),
    "batched, transposed": (lambda x, w: x.expand(3, 4, 6) @ w.mT, False),
    "einsum": (lambda x, w: torch.einsum("tk,eok->eto", x, w), False),
    "three dimensions": (lambda x, w: torch.stack([x[None] @ w[e] for e in range(3)]), True),
}


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("use", USES)
def test_a_product_is_observed_however_it_is_written(use, context):
    function, transposed = USES[use]
    model = torch.nn.ModuleDict({"experts": Experts(function)})
    found, _ = layers.find_layers(model)
    with watch.Watcher(found, "full") as watcher, context():
        model["experts"](X)
    assert found["experts.weight"].transposed == transposed
    assert sorted(watcher.accumulators) == [f"experts.weight[{expert}]" for expert in range(3)]
    x = X.double().numpy()
    for accumulator in watcher.accumulators.values():
        assert accumulator.tokens == 4
        np.testing.assert_allclose(accumulator.hessian(), x.T @ x / 4, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "use",
    [
        lambda x, w: x @ w[torch.tensor([0, 2])].mT,
        lambda x, w: x @ w.double().float()[0],
        lambda x, w: x * w[0, 0],
        lambda x, w: x[:, :3] @ w[0, :, :3].T,
        lambda x, w: (x @ w[0], x @ w[1].T),
    ],
)
def test_an_unknown_use_is_refused_by_name(use):
    model = torch.nn.ModuleDict({"experts": Experts(use)})
    with (
        pytest.raises(ValueError, match=r"experts\.weight: the inputs of its experts cannot be observed"),
        watch.Watcher(layers.find_layers(model)[0]),
        torch.no_grad(),
    ):
        model["experts"](X)


def test_a_weight_that_is_not_in_memory_is_refused_by_name():
    model = torch.nn.ModuleDict({"experts": Experts(None)}).to("meta")
    with (
        pytest.raises(ValueError, match=r"experts\.weight: .* not in memory"),
        watch.Watcher(layers.find_layers(model)[0]),
    ):
        pass


class Block(torch.nn.Module):
    """A block that multiplies by its experts' weight itself."""

    def __init__(self):
        super().__init__()
        self.experts = Experts(None)

    def forward(self, x):
        return x @ self.experts.weight[1]


def test_a_weight_that_is_used_outside_of_its_module_is_observed_or_refused():
    block = Block()
    with watch.Watcher(layers.find_layers(block)[0]) as watcher, torch.no_grad():
        block(X)
    assert watcher.accumulators["experts.weight[1]"].tokens == 4
    with (
        pytest.raises(ValueError, match=r"experts\.weight: is used outside of its module"),
        watch.Watcher(layers.find_layers(block)[0]) as watcher,
        watcher.mask(torch.ones(2, 2)),
    ):
        block(X)


def test_a_model_is_left_as_it_was(tmp_path):
    model = load(save(tmp_path / "model", "mixtral"))
    model.set_experts_implementation("grouped_mm")
    with watch.Watcher(layers.find_layers(model)[0]) as watcher, torch.no_grad():
        inside = model(input_ids=torch.tensor(pieces(20, 20))).logits
    assert watcher.accumulators
    assert model.config._experts_implementation == "grouped_mm"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with torch.no_grad():
        torch.testing.assert_close(inside, model(input_ids=torch.tensor(pieces(20, 20))).logits)


@pytest.mark.parametrize("flipped", [False, True])
def test_experts_that_are_transposed_when_they_are_read(flipped, tmp_path):
    folder = save(tmp_path / "model", "qwen3_vl_moe")
    file = folder / "model.safetensors"
    tensors = tensors_on_disk.load_file(file)
    for name in [name for name in tensors if ".experts." in name and flipped]:
        tensors[name] = tensors[name].mT.contiguous()
    tensors_on_disk.save_file(tensors, file, {"format": "pt"})
    tensors = collect(folder, tmp_path / "h.safetensors", "--tokens", TOKENS, "--sequence", LENGTH)
    found = expert_inputs("qwen3_vl_moe", load(folder), pieces(TOKENS, LENGTH))
    for (layer, expert), inputs in found.items():
        for part, x in zip(("gate_up_proj", "down_proj"), inputs):
            stem = f"model.language_model.layers.{layer}.mlp.experts.{part}"
            check(tensors, stem, x, expert=expert, transposed=flipped)


@pytest.mark.parametrize("family", [*APART, *FUSED])
def test_experts_of_16_bits_are_observed(family, tmp_path, capsys):
    folder = save(tmp_path / "model", family)
    given = ("--tokens", TOKENS, "--sequence", LENGTH, "--dtype", "bfloat16")
    tensors = collect(folder, tmp_path / "h.safetensors", *given)
    assert "not found" not in capsys.readouterr().err
    counts = [tensors[key].sum() for key in tensors if re.search(r"layers\.0\..*experts.*(down_proj|w2)\.tokens", key)]
    assert sum(counts) == TOKENS * (1 if family == "llama4" else 2)


def test_passes_change_nothing(tmp_path):
    folder = save(tmp_path / "model", "mixtral")
    given = ("--tokens", TOKENS, "--sequence", LENGTH)
    once = collect(folder, tmp_path / "h.safetensors", *given)
    often = collect(folder, tmp_path / "folder", *given, "--passes", 4)
    assert once.keys() == often.keys()
    for key, value in once.items():
        np.testing.assert_array_equal(value, often[key])


def test_gate_and_up_of_experts_are_shared(tmp_path, capsys):
    folder = save(tmp_path / "model", "mixtral")
    tensors = collect(folder, tmp_path / "h.safetensors", "--tokens", TOKENS, "--share")
    assert "--alias k_proj=q_proj,v_proj=q_proj,w3=w1\n" in capsys.readouterr().out
    assert {re.search(r"w\d", key)[0] for key in tensors if ".experts." in key} == {"w1", "w2"}


def test_layers_beside_experts_have_their_hessians(tmp_path):
    folder = save(tmp_path / "model", "qwen2_moe")
    tensors = collect(folder, tmp_path / "h.safetensors", "--tokens", TOKENS, "--sequence", LENGTH)
    names = ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.shared_expert.down_proj"]
    for name, calls in inputs_of(load(folder), names, pieces(TOKENS, LENGTH)).items():
        check(tensors, name, rows(calls))
