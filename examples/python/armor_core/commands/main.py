"""The command line of `armor-core`.

A command is a module of this package with `add_arguments(parser)` and `run(options)`. To add one, write the module and
its line in `COMMANDS`. Only the module of the command that is run is imported, so each may import what it needs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any

from armor_core.commands.arguments import UsageError
from armor_core.commands.terminal import plain, say
from armor_core.errors import ArmorError
from armor_core.library import version

PROGRAM = "armor-core"
# The name of a command and what it does, by its module.
COMMANDS = {
    "calibrate": ("calibrate", "collect the Hessians of a model's layers"),
    "compress_ray": ("compress-ray", "compress a checkpoint on Ray"),
}
# The extra that brings a package.
EXTRAS = {
    **dict.fromkeys(("jinja2", "safetensors", "tokenizers", "torch", "tqdm", "transformers"), "model"),
    "ray": "ray",
}


class Version(argparse.Action):
    """Prints the version of the library, which is loaded for this only."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:  # noqa: ANN401 - argparse's own
        """Prints and ends."""
        print(f"{PROGRAM} {version()}")
        parser.exit()


def build_parser(given: list[str]) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of the one that is given."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Compresses language models into A · S · B (ARMOR).")
    parser.add_argument("--version", action=Version, nargs=0, help="show the version of the library and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    chosen = next((word for word in given if not word.startswith("-")), None)
    for module, (name, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == chosen:
            imported = importlib.import_module(f"armor_core.commands.{module}")
            command.description = imported.__doc__
            imported.add_arguments(command)
            command.set_defaults(run=imported.run, parser=command)
    return parser


def parse(given: list[str]) -> argparse.Namespace:
    """Reads a command line; `run` of what it gives is the command's function."""
    return build_parser(given).parse_args(given)


def sentence(error: Exception) -> str:
    """What an error says to the user."""
    if isinstance(error, ImportError) and error.name is not None:
        package = error.name.partition(".")[0]
        if package in EXTRAS:
            return f'needs the Python package {package}, which the extra "{EXTRAS[package]}" of {PROGRAM} installs'
    known = isinstance(error, (ArmorError, ImportError, OSError, RuntimeError, ValueError)) and str(error)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    return "\n".join(plain(line) for line in text.splitlines())


def main(given: list[str] | None = None) -> int:
    """Runs a command; gives the exit code: 0, 1 for an error, 2 for a wrong command line, 130 for Ctrl-C.

    An error ends as a sentence on the standard error output, unless the environment variable ARMOR_TRACEBACK is set.
    """
    given = sys.argv[1:] if given is None else given
    place = PROGRAM
    try:
        options = parse(given)
        place = f"{PROGRAM} {options.command}"
        try:
            options.run(options)
            sys.stdout.flush()
        except UsageError as error:
            options.parser.error(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if os.environ.get("ARMOR_TRACEBACK"):
            raise
        say(f"{place}: {sentence(error)}")
        return 1
    return 0
