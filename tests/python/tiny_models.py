"""Tiny random models of several families with a tokenizer of bytes, stored as Hugging Face does, and calibrated."""

import importlib

import numpy as np
import pytest
from armor_core.commands.main import parse
from safetensors.numpy import load_file

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
# These need PyTorch, so they cannot be imported above.
layers, names, watch, text = (
    importlib.import_module(f"armor_core.calibration.{part}") for part in "layers names watch text".split()
)
load_module = importlib.import_module("armor_core.model.load")
tensors_on_disk = importlib.import_module("safetensors.torch")
torch.set_num_threads(1)  # On matrices this small, threads only wait for one another.

TEXT = "Two of every four are kept, and the others are gone. " * 8
BOS = 256
SMALL = {
    "vocab_size": 260,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": BOS,
    "eos_token_id": 257,
}
EXPERTS = {"num_experts_per_tok": 2, "intermediate_size": 12, "moe_intermediate_size": 12}


def small(*left_out, **more):
    """Settings of a small model."""
    return {key: value for key, value in {**SMALL, **more}.items() if key not in left_out}


def llava():
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    return transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**vision, image_size=8, patch_size=4, projection_dim=16),
        text_config=transformers.LlamaConfig(**small()),
        image_token_index=258,
    )


def qwen3_vl_moe():
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 4, "out_hidden_size": 16}
    return transformers.Qwen3VLMoeConfig(
        text_config={**small(**EXPERTS), "num_experts": 5, "head_dim": 8, "rope_parameters": rope},
        vision_config={**vision, "patch_size": 4, "deepstack_visual_indexes": [0]},
    )


CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**small()),
    "qwen2": lambda: transformers.Qwen2Config(**small()),
    "phi3": lambda: transformers.Phi3Config(**small()),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=260, n_embd=16, n_inner=16, n_layer=2, n_head=4, n_positions=64, bos_token_id=BOS, eos_token_id=257
    ),
    "opt": lambda: transformers.OPTConfig(
        **small("intermediate_size", "num_key_value_heads"), ffn_dim=24, word_embed_proj_dim=16
    ),
    "bloom": lambda: transformers.BloomConfig(
        vocab_size=260, hidden_size=16, n_layer=2, n_head=4, bos_token_id=BOS, eos_token_id=257, pad_token_id=0
    ),
    "mpt": lambda: transformers.MptConfig(
        d_model=16, n_heads=4, n_layers=2, expansion_ratio=2, max_seq_len=64, vocab_size=260
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**small("num_key_value_heads")),
    "qwen2_moe": lambda: transformers.Qwen2MoeConfig(
        **small(**EXPERTS), num_experts=5, shared_expert_intermediate_size=20, decoder_sparse_step=1
    ),
    "mixtral": lambda: transformers.MixtralConfig(**small(**EXPERTS), num_local_experts=5),
    "gpt_oss": lambda: transformers.GptOssConfig(**small(**EXPERTS), num_local_experts=5, head_dim=4),
    "llama4": lambda: transformers.Llama4TextConfig(
        **small(**{**EXPERTS, "num_experts_per_tok": 1}),
        intermediate_size_mlp=24,
        num_local_experts=5,
        interleave_moe_layer_step=1,
        head_dim=4,
    ),
    "dbrx": lambda: transformers.DbrxConfig(
        d_model=16,
        n_heads=4,
        n_layers=1,
        max_seq_len=64,
        vocab_size=260,
        attn_config={"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
        ffn_config={"ffn_hidden_size": 12, "moe_num_experts": 4, "moe_top_k": 2},
    ),
    "jetmoe": lambda: transformers.JetMoeConfig(**small(**EXPERTS), num_local_experts=5, kv_channels=4),
    "llava": llava,
    "qwen3_vl_moe": qwen3_vl_moe,
}


def tokenizer(*, bos):
    """A tokenizer of bytes, with or without a first token of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(alphabet)} | {"<s>": BOS, "</s>": 257}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if bos:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", 257)]
        )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


def save(folder, family, *, bos=False):
    """Stores a model of a family with its tokenizer and a text; gives the folder."""
    torch.manual_seed(3)
    config = CONFIGS[family]()
    text_only = hasattr(config, "num_hidden_layers")
    auto = transformers.AutoModelForCausalLM if text_only else transformers.AutoModelForImageTextToText
    model = auto.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    tokenizer(bos=bos).save_pretrained(folder)
    (folder / "text.txt").write_text(TEXT)
    return folder


def load(folder):
    """The model as its users load it."""
    return load_module.load_dense(folder)


def collect(folder, out, *more):
    """Runs the command in this process: the tensors that it wrote."""
    given = ["calibrate", "--model", folder, "--text", folder / "text.txt", "--out", out, *more]
    options = parse([str(argument) for argument in given])
    options.run(options)
    files = [out] if out.is_file() else sorted(out.iterdir())
    return {key: value for file in files for key, value in load_file(file).items()}


def weights(folder):
    """The tensors of a model on disk."""
    return {key: value for file in folder.glob("*.safetensors") for key, value in load_file(file).items()}


def pieces(count, length, first=()):
    """The first `count` bytes of the text as sequences of token numbers."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    numbers = [alphabet.index({" ": "Ġ"}.get(letter, letter)) for letter in TEXT[:count]]
    step = length - len(first)
    return [[*first, *numbers[start : start + step]] for start in range(0, count, step)]


def inputs_of(model, modules, sequences):
    """What modules are given, kept by hooks of the test's own: the arguments of every call, by name."""
    kept, handles = {name: [] for name in modules}, []
    for name in modules:

        def hook(_module, args, kwargs, name=name):
            kept[name].append([*args, *kwargs.values()])

        handles.append(model.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True))
    with torch.no_grad():
        for sequence in sequences:
            model(input_ids=torch.tensor([sequence]))
    for handle in handles:
        handle.remove()
    return kept


def rows(calls):
    """The first argument of every call as one matrix, (tokens, k), in f64."""
    return torch.cat([call[0].flatten(0, -2) for call in calls]).double().numpy()


def check(tensors, stem, x, *, expert=None, transposed=False):
    """A Hessian, full or its diagonal, and its count are those of the inputs x, (tokens, k).

    The orientation is recorded as `transposed`, or not at all if that is None.
    """
    kind = "hessian" if f"{stem}.hessian" in tensors else "hessian_diag"
    found, count = tensors[f"{stem}.{kind}"], tensors[f"{stem}.tokens"]
    assert found.dtype == np.float32 and count.dtype == np.int64
    if expert is None:
        assert count.shape == (1,)
        count = count[0]
    else:
        found, count = found[expert], count[expert]
    assert count == len(x)
    wanted = x.T @ x / max(len(x), 1)
    np.testing.assert_allclose(found, wanted if kind == "hessian" else np.diag(wanted), rtol=2e-4, atol=1e-6)
    assert (f"{stem}.transposed" in tensors) == (transposed is not None)
    if transposed is not None:
        flag = tensors[f"{stem}.transposed"]
        assert (flag.dtype, flag.tolist()) == (np.uint8, [int(transposed)])
