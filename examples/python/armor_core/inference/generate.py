"""Generates text, and takes the time of it."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import TYPE_CHECKING

import torch
import transformers

from armor_core.calibration.text import tokenizer_of
from armor_core.commands.terminal import say

if TYPE_CHECKING:
    import argparse


@dataclasses.dataclass
class Counts:
    """Tokens of the prompt and after it; seconds to the first new token, and from there to the last."""

    prompt: int
    tokens: int
    first: float
    rest: float


class _Clock(transformers.TextStreamer):
    """Writes the text as it comes, and notes when each token came."""

    def __init__(self, tokenizer: transformers.PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())
        super().put(value)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        sys.stdout.write(text + ("\n" if stream_end else ""))
        sys.stdout.flush()


def generate(options: argparse.Namespace, prompt: str, dtype: str) -> Counts:
    """Goes on with the prompt."""
    if options.threads:
        torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    tokenizer = tokenizer_of(options.model, trust_remote_code=options.trust_remote_code)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        options.model, dtype=dtype, trust_remote_code=options.trust_remote_code
    )
    if options.chat:
        message = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(
            message, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
    else:
        inputs = tokenizer(prompt, return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    if length == 0:
        raise ValueError("--prompt: has no token")
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and length + options.tokens > context:
        say(f"warning: prompt and --tokens are {length + options.tokens} tokens, and the model was made for {context}")
    clock = _Clock(tokenizer)
    draws = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if options.temperature is not None:
        torch.manual_seed(options.seed)
        draws = {"do_sample": True, "temperature": options.temperature}
    started = time.perf_counter()
    model.generate(
        **inputs, streamer=clock, max_new_tokens=options.tokens, pad_token_id=tokenizer.eos_token_id, **draws
    )
    times = clock.times[1:]  # the first call brings the prompt
    return Counts(length, len(times), times[0] - started if times else 0.0, times[-1] - times[0] if times else 0.0)
