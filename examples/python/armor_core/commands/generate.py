"""Goes on with a text, by a compressed model whose layers compute with their packed factors, or by a dense one.

    armor-core generate OUT --prompt "Two of every four"

The text goes to the standard output as it comes, and the speed to the standard error output at the end. The most likely
token is taken each time, unless --temperature is given.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from armor_core.commands.arguments import UsageError, folder, not_negative, number, positive, threads
from armor_core.commands.terminal import say

if TYPE_CHECKING:
    import argparse

TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("model", type=folder, metavar="OUT", help="folder of a compressed model, or of a dense one")
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="the text to go on with; - for standard input")
    parser.add_argument("--chat", action="store_true", help="the text is a message to answer, by the chat template")
    parser.add_argument("--tokens", type=positive, default=128, metavar="N", help="at most (default: %(default)s)")
    parser.add_argument("--temperature", type=number, metavar="T", help="draw the tokens, more freely the higher T is")
    parser.add_argument("--seed", type=not_negative, default=0, metavar="N", help="of the draws (default: %(default)s)")
    parser.add_argument("--dtype", choices=TYPES, help="number type of all but the factors (default: the model's own)")
    parser.add_argument("--threads", type=threads, default=0, metavar="N", help="0 for one a core")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the code that OUT brings")


def run(options: argparse.Namespace) -> None:
    """Generates."""
    if options.temperature is not None and options.temperature <= 0:
        raise UsageError(
            f"--temperature: {options.temperature} is not above 0; leave it out to take the likeliest token"
        )
    from armor_core.inference.generate import generate

    prompt = sys.stdin.read() if options.prompt == "-" else options.prompt
    if not prompt:
        raise UsageError("--prompt: is empty")
    started = time.perf_counter()
    counts = generate(options, prompt, TYPES[options.dtype] if options.dtype else "auto")
    if counts.tokens == 0:
        say("the model ended the text at once")
        return
    say(
        f"prompt: {counts.prompt} tokens, {counts.prompt / counts.first:.1f} a second; "
        f"then {counts.tokens} tokens"
        + (f", {(counts.tokens - 1) / counts.rest:.1f} a second" if counts.tokens > 1 else "")
        + f"; {time.perf_counter() - started:.1f} s with loading"
    )
