"""Runs the command line: `python -m armor_core` is the program `armor-core`."""

from armor_core.commands.main import main

if __name__ == "__main__":
    raise SystemExit(main())
