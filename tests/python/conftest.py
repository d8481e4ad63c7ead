"""Where the package and the library lie."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "examples/python"
sys.path.insert(0, str(PACKAGE))


def pytest_configure(config):
    config.addinivalue_line("markers", "field: needs what .ci/field installs, PyTorch and packages on top of it")


def command(*arguments):
    """The command line of the program `armor-core` with arguments, and its environment."""
    path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
    return [sys.executable, "-m", "armor_core", *map(str, arguments)], {**os.environ, "PYTHONPATH": path}


def armor(*arguments):
    """Runs the program `armor-core`: its exit status, what it printed, and its errors."""
    words, environment = command(*arguments)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr
