"""A small random checkpoint with its Hessians, as settings of a job."""

import json

import numpy as np
from safetensors.numpy import save_file

PARTS = {"self_attn.q_proj": (64, 64), "self_attn.k_proj": (32, 64), "mlp.up_proj": (96, 64), "mlp.down_proj": (64, 96)}


def write(folder, out, layers=3, iterations=40, **more):
    """Writes two shards, their index and the Hessians to a new folder; gives settings that write to `out`."""
    generator = np.random.default_rng(7)
    shards = [{"model.embed_tokens.weight": generator.standard_normal((50, 64)).astype(np.float16)}, {}]
    hessians = {}
    for layer in range(layers):
        tensors = shards[layer * 2 // layers]
        tensors[f"model.layers.{layer}.input_layernorm.weight"] = np.ones(64, np.float32)
        for part, shape in PARTS.items():
            name = f"model.layers.{layer}.{part}"
            tensors[f"{name}.weight"] = generator.standard_normal(shape).astype(np.float16)
            if part != "self_attn.k_proj":
                hessians[f"{name}.hessian_diag"] = (generator.random(shape[1]) + 0.1).astype(np.float32)
    checkpoint = folder / "model"
    checkpoint.mkdir(parents=True)
    index = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(tensors, checkpoint / name, {"format": "pt"})
        index.update(dict.fromkeys(tensors, name))
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    save_file(hessians, folder / "hessians.safetensors")
    return {
        "checkpoint": str(checkpoint),
        "hessians": str(folder / "hessians.safetensors"),
        "out": str(out),
        "include": ["*_proj.weight"],
        "alias": {"k_proj": "q_proj"},
        "block": 16,
        "iterations": iterations,
        **more,
    }


def contents(out):
    """Every file of an output folder by its relative name."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
