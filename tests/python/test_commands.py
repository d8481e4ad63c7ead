"""The program shows what it does, and ends every error in a sentence and with the exit code that the error has."""

import signal
import subprocess
import sys
import types

import numpy as np
import pytest
from armor_core import version
from armor_core.commands.arguments import UsageError
from armor_core.commands.main import COMMANDS, EXTRAS, main
from armor_core.commands.terminal import plain
from armor_core.errors import ArmorError
from conftest import PACKAGE, armor, command

# Puts a command that does something else in the place of one of the program's.
STUB = """
import sys, types
from armor_core.commands import main
stub = types.ModuleType("stub")
stub.add_arguments = lambda parser: None
def run(options):
{body}
stub.run = run
sys.modules["armor_core.commands.stub"] = stub
main.COMMANDS["stub"] = "nothing"
sys.exit(main.main(["stub"]))
"""


@pytest.fixture
def stub(monkeypatch):
    """Lets a command raise an error: the exit code of the program."""

    def given(error):
        def run(_options):
            raise error

        module = types.SimpleNamespace(add_arguments=id, run=run, __doc__="")
        monkeypatch.setitem(sys.modules, "armor_core.commands.stub", module)
        monkeypatch.setitem(COMMANDS, "stub", "nothing")
        return main(["stub"])

    monkeypatch.delenv("ARMOR_TRACEBACK", raising=False)
    return given


def start(body):
    """Starts the program with a command that runs `body`."""
    _, environment = command()
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    program = [sys.executable, "-c", STUB.format(body=lines)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(program, env=environment, **pipes)


def test_help_lists_every_command_and_imports_none():
    status, printed, errors = armor("--help")
    assert (status, errors) == (0, "")
    for name, summary in COMMANDS.items():
        assert name in printed
        assert summary in printed
    program = (
        "import sys; from armor_core.commands.main import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    )
    _, environment = command()
    loaded = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    roots = {name.partition(".")[0] for name in loaded.stdout.splitlines()[-1].split()}
    assert "numpy" in roots
    assert not roots & set(EXTRAS)


def test_every_command_has_a_module_that_describes_it():
    for name in COMMANDS:
        text = (PACKAGE / "armor_core" / "commands" / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
        assert f"\n    armor-core {name} " in text
        assert "\ndef add_arguments(parser: argparse.ArgumentParser) -> None:" in text
        assert "\ndef run(options: argparse.Namespace) -> None:" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["compres"], "invalid choice: 'compres'"),
        (["--nothing"], "armor-core: error: "),
        (["calibrate", "--tokens", "x"], "--tokens: 'x' is no whole number"),
        (["calibrate", "--tokens", "-3"], "--tokens: -3 is below 1"),
        (["calibrate", "--activations", ".", "--out", "h", "--text", "nowhere.txt"], "--text: nowhere.txt is no file"),
        (["calibrate", "--activations", ".", "--out", "h", "--text", __file__], "--model and --text go together"),
    ],
)
def test_a_wrong_command_line_has_the_exit_code_2(arguments, message):
    status, printed, errors = armor(*arguments)
    assert (status, printed) == (2, "")
    assert errors.startswith("usage: armor-core")
    assert message in errors
    assert "Traceback" not in errors


def test_the_version_is_that_of_the_library():
    assert armor("--version") == (0, f"armor-core {version()}\n", "")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(2, "No such file or directory", "x"), "[Errno 2] No such file or directory: 'x'"),
        (ValueError("--text: holds no token"), "--text: holds no token"),
        (RuntimeError("no"), "no"),
        (ArmorError(8, "weight: entry [3, 5] is NaN"), "weight: entry [3, 5] is NaN"),
        (ImportError("no library of armor-core"), "no library of armor-core"),
        (ModuleNotFoundError("No module named 'a.b'", name="a.b"), "No module named 'a.b'"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError(), "ValueError: "),
        (ValueError("two\nlines, \x1b[31m\x9b"), "two\nlines, \\x1b[31m\\x9b"),
    ],
)
def test_an_error_is_a_sentence_and_the_exit_code_1(stub, capsys, error, message):
    assert stub(error) == 1
    assert capsys.readouterr() == ("", f"armor-core stub: {message}\n")


def test_a_traceback_is_shown_where_it_is_asked_for(stub, monkeypatch):
    monkeypatch.setenv("ARMOR_TRACEBACK", "1")
    with pytest.raises(LookupError):
        stub(LookupError("x"))


@pytest.mark.parametrize("package", EXTRAS)
def test_a_missing_package_is_named_with_its_extra(stub, capsys, package):
    missing = ModuleNotFoundError(f"No module named '{package}.part'", name=f"{package}.part")
    assert stub(missing) == 1
    wanted = f"needs the Python package {package}; the extra [{EXTRAS[package]}] of armor-core installs it"
    assert capsys.readouterr().err == f"armor-core stub: {wanted}\n"


def test_compress_on_ray_without_ray_says_so_before_anything_is_done(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["compress", str(tmp_path), str(tmp_path / "out"), "--text", "none.txt", "--ray"]) == 1
    wanted = "armor-core compress: needs the Python package ray; the extra [ray] of armor-core installs it\n"
    assert capsys.readouterr() == ("", wanted)
    assert not list(tmp_path.iterdir())


def test_a_command_whose_packages_are_missing_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.delitem(sys.modules, "armor_core.commands.calibrate", raising=False)
    assert main(["calibrate", "--help"]) == 1
    assert capsys.readouterr() == (
        "",
        "armor-core: needs the Python package tqdm; the extra [model] of armor-core installs it\n",
    )


def test_a_missing_library_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("ARMOR_LIBRARY", str(tmp_path / "nowhere.so"))
    np.save(tmp_path / "layer.npy", np.ones((5, 8)))
    status, printed, errors = armor("calibrate", "--activations", tmp_path, "--out", tmp_path / "h.safetensors")
    assert (status, printed) == (1, "")
    last = errors.splitlines()[-1]
    assert last.startswith("armor-core calibrate: no library of armor-core; set ARMOR_LIBRARY to its file, or build it")
    assert "nowhere.so: " in last
    assert "Traceback" not in errors


def test_arguments_that_do_not_go_together_have_the_exit_code_2(stub, capsys):
    with pytest.raises(SystemExit) as ended:
        stub(UsageError("--a and --b"))
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("armor-core stub: error: --a and --b\n")


def test_ctrl_c_ends_without_a_word():
    # A shell starts what runs in the background with SIGINT ignored, which is inherited.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = start('import time\nprint("at work", flush=True)\ntime.sleep(60)')
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert (process.returncode, printed, errors) == (130, "", "")


def test_a_reader_that_leaves_is_no_error_of_ours():
    process = start('import sys\nsys.stdin.readline()\nprint("x" * 100000)')
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(60), errors) == (141, "")


def test_a_name_that_a_terminal_would_obey_is_escaped():
    assert plain("model.größe\x1b[31m\x9b.weight") == "model.größe\\x1b[31m\\x9b.weight"
