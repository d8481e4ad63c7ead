"""The command line of `armor-core`.

A command is a module of this package with `add_arguments(parser)` and `run(options)`, called as the command is, with
`_` for `-`. To add one, write the module and its line in `COMMANDS`. Only the module of the command that is run is
imported, so each may import what it needs. The module's text is the description that `--help` shows.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from armor_core import __version__
from armor_core.commands.arguments import UsageError
from armor_core.commands.terminal import plain, say
from armor_core.errors import ArmorError

PROGRAM = "armor-core"
DESCRIPTION = "Compresses language models: every weight becomes A · S · B with a sparse core S (ARMOR)."
EPILOG = "`armor-core COMMAND --help` describes a command. With ARMOR_TRACEBACK=1 an error shows where it was raised."
# The commands in the order in which --help lists them, and what they do.
COMMANDS = {
    "calibrate": "collect the Hessians of a model's layers",
    "compress": "compress a model block by block",
    "compress-ray": "compress a checkpoint on Ray, by settings in a file",
    "evaluate": "measure what a compressed model has lost",
    "generate": "go on with a text, with the factors of a compressed model",
}
# The extra of pyproject.toml that installs a package.
EXTRAS = {
    **dict.fromkeys(("jinja2", "matplotlib", "safetensors", "tokenizers", "torch", "tqdm", "transformers"), "model"),
    "ray": "ray",
}


def build_parser(given: list[str]) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of the one that is given."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    chosen = next((word for word in given if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == chosen:
            imported = importlib.import_module(f"armor_core.commands.{name.replace('-', '_')}")
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
            return f"needs the Python package {package}; the extra [{EXTRAS[package]}] of {PROGRAM} installs it"
    known = isinstance(error, (ArmorError, ImportError, OSError, RuntimeError, ValueError)) and str(error)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    return "\n".join(plain(line) for line in text.splitlines())


def main(given: list[str] | None = None) -> int:
    """Runs a command; gives the exit code: 0, 1 for an error, 130 for Ctrl-C. A wrong command line exits with 2.

    An error ends as a sentence on the standard error output, unless the environment variable ARMOR_TRACEBACK is set.
    """
    given = sys.argv[1:] if given is None else given
    place = PROGRAM
    try:
        try:
            options = parse(given)
            place = f"{PROGRAM} {options.command}"
            options.run(options)
        except UsageError as error:
            options.parser.error(str(error))
        finally:
            sys.stdout.flush()
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
