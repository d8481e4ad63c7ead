"""The wheel has the library inside, and works wherever it is installed."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import armor_core
import pytest
from conftest import PACKAGE, ROOT

pytest.importorskip("hatchling")
VERSION = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
LIBRARY = "armor_core/libarmor_core" + (".dylib" if sys.platform == "darwin" else ".so")
PROGRAM = """
import numpy as np
import armor_core
weight = np.random.default_rng(0).standard_normal((16, 32)).astype(np.float32)
layer = armor_core.factorize(weight, None, armor_core.Options(left_block=8, right_block=8, iterations=5))
assert layer.report.loss < layer.report.nowag_p_loss
print(armor_core.load_library()._name, armor_core.version(), sep="\\n")
"""


def pip(*arguments, **environment):
    """Runs pip: its exit status, and all that it printed."""
    words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", *map(str, arguments)]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def build(folder, source=PACKAGE, **environment):
    """Builds the wheel, with what this environment has."""
    return pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source, **environment)


@pytest.fixture(scope="module")
def library():
    """The library that the tests run on."""
    return str(Path(armor_core.load_library()._name).resolve())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, library):
    folder = tmp_path_factory.mktemp("wheel")
    status, printed = build(folder, ARMOR_LIBRARY=library)
    assert status == 0, printed
    (made,) = folder.iterdir()
    return made


def environment(folder):
    """A virtual environment of its own: its Python, and variables that let it see numpy and no library."""
    venv.create(folder, with_pip=False)
    numpy = Path(importlib.util.find_spec("numpy").origin).parents[1]
    hidden = ("ARMOR_LIBRARY", "CARGO_TARGET_DIR", "PKG_CONFIG_PATH", "LD_LIBRARY_PATH", "PYTHONHOME")
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    return folder / "bin" / "python", {**kept, "PYTHONPATH": str(numpy)}


def run(words, variables, folder):
    """Runs a program in a folder: what it printed."""
    done = subprocess.run(words, env=variables, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_is_for_this_platform_and_any_python_3(wheel):
    platform = re.sub("[-.]", "_", sysconfig.get_platform())
    if sys.platform == "linux":
        assert wheel.name == f"armor_core-{VERSION}-py3-none-{platform}.whl"
    assert wheel.name.startswith(f"armor_core-{VERSION}-py3-none-")
    assert "any" not in wheel.name


def test_the_wheel_holds_the_whole_package_and_the_library(wheel, library):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        assert file.read(LIBRARY) == Path(library).read_bytes()
        information = f"armor_core-{VERSION}.dist-info"
        metadata = file.read(f"{information}/METADATA").decode()
        assert "Root-Is-Purelib: false" in file.read(f"{information}/WHEEL").decode()
    sources = PACKAGE / "armor_core"
    modules = {str(path.relative_to(PACKAGE)) for path in sources.rglob("*") if path.suffix in (".py", ".typed")}
    assert "armor_core/py.typed" in modules
    licenses = {"armor_core/LICENSE-APACHE", "armor_core/LICENSE-MIT"}
    assert {name for name in names if name.startswith("armor_core/")} == modules | licenses | {LIBRARY}
    assert f"Version: {VERSION}\n" in metadata
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert [line.partition(">")[0] for line in required] == ["Requires-Dist: numpy"]


def test_crate_library_and_package_have_one_version():
    assert armor_core.version() == armor_core.__version__ == VERSION


def test_the_wheel_works_outside_of_the_repository(wheel, tmp_path):
    python, variables = environment(tmp_path / "venv")
    status, printed = pip("--python", python, "install", "--no-deps", "--no-index", wheel)
    assert status == 0, printed
    (tmp_path / "elsewhere").mkdir()
    script = python.with_name("armor-core")
    for words in ([python, "-m", "armor_core"], [script]):
        assert "calibrate" in run([*words, "--help"], variables, tmp_path / "elsewhere")
        assert run([*words, "--version"], variables, tmp_path / "elsewhere") == f"armor-core {VERSION}\n"
    found, version = run([python, "-c", PROGRAM], variables, tmp_path / "elsewhere").splitlines()
    assert Path(found).is_relative_to(tmp_path / "venv")
    assert Path(found).name == Path(LIBRARY).name
    assert version == VERSION


def test_an_editable_install_runs_the_sources_of_the_repository(library, tmp_path):
    python, variables = environment(tmp_path / "venv")
    given = ["--no-deps", "--no-build-isolation", "--no-index", "--prefix", tmp_path / "venv", "--editable", PACKAGE]
    status, printed = pip("install", *given, ARMOR_LIBRARY=library)
    assert status == 0, printed
    variables = {**variables, "ARMOR_LIBRARY": library}
    program = "import armor_core; print(armor_core.__file__, armor_core.load_library()._name, sep='\\n')"
    found = run([python, "-c", program], variables, tmp_path).splitlines()
    assert found == [str(PACKAGE / "armor_core" / "__init__.py"), library]
    assert "calibrate" in run([python, "-m", "armor_core", "--help"], variables, tmp_path)


def copied(folder):
    """A copy of the package outside of the repository, in a folder of the same shape."""
    source = folder / "examples" / "python"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    return source


def test_cargo_builds_the_library_where_none_is_named(library, tmp_path):
    source, out = copied(tmp_path / "copy"), tmp_path / "out"
    (tmp_path / "copy" / "Cargo.toml").write_text("")
    built = tmp_path / "built" / Path(LIBRARY).name
    built.parent.mkdir()
    shutil.copy(library, built)
    # A cargo that writes down its arguments and what it was run in, and answers as the real one does.
    messages = [
        {"reason": "compiler-artifact", "filenames": [str(built.with_name("libother.rlib"))]},
        {"reason": "compiler-artifact", "filenames": [str(built.with_suffix(".rlib")), str(built)]},
        {"reason": "build-finished", "success": True},
    ]
    (tmp_path / "messages").write_text("\n".join(map(json.dumps, messages)))
    cargo = tmp_path / "bin" / "cargo"
    cargo.parent.mkdir()
    cargo.write_text(f'#!/bin/sh\necho "$PWD $*" > {tmp_path}/asked\ncat {tmp_path}/messages\n')
    cargo.chmod(0o755)
    status, printed = build(out, source, ARMOR_LIBRARY="", PATH=f"{cargo.parent}{os.pathsep}{os.environ['PATH']}")
    assert status == 0, printed
    wanted = f"{tmp_path / 'copy'} build --release --features capi,checkpoint --lib --message-format="
    assert (tmp_path / "asked").read_text().startswith(wanted)
    (made,) = out.iterdir()
    with zipfile.ZipFile(made) as file:
        assert file.read(LIBRARY) == Path(library).read_bytes()


def test_a_build_without_a_library_says_what_is_missing(tmp_path):
    source = copied(tmp_path / "copy")
    nowhere = tmp_path / "nowhere.so"
    for library, message in (
        (str(nowhere), f"armor-core: ARMOR_LIBRARY: {nowhere} is no file"),
        ("", f"armor-core: {tmp_path / 'copy'} has no Cargo.toml: build the package where it lies in the repository"),
    ):
        status, printed = build(tmp_path / "out", source, ARMOR_LIBRARY=library)
        assert (status, message in printed, "Traceback" in printed) == (1, True, False), printed
    (tmp_path / "copy" / "Cargo.toml").write_text("")
    message = "armor-core: cargo was not found: install Rust, or set ARMOR_LIBRARY to the file of a library"
    status, printed = build(tmp_path / "out", source, ARMOR_LIBRARY="", PATH=str(tmp_path))
    assert (status, message in printed, "Traceback" in printed) == (1, True, False), printed
    (tmp_path / "copy" / "Cargo.toml").write_text("nonsense")
    status, printed = build(tmp_path / "out", source, ARMOR_LIBRARY="")
    assert (status, "armor-core: cargo failed with the exit code " in printed) == (1, True), printed
