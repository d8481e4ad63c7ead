"""Where the examples and the library lie."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples/python"))


def pytest_configure(config):
    config.addinivalue_line("markers", "field: needs what .ci/field installs, PyTorch and packages on top of it")
