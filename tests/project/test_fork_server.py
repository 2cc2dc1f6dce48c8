"""Forked commands behave like those that a user starts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support import fork_server

WAIT = "import time; print('here', flush=True); time.sleep(600)"


def run(python: str, *words: str, **options: object) -> tuple[int, str, str]:
    done = subprocess.run([python, *words], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import sys; print(sys.argv, sys.path[0] in ('', __import__('os').getcwd()), input())",
        "import sys; print('half', end=''); sys.exit(3)",
        "raise SystemExit('why')",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import atexit, threading; atexit.register(print, 'z'); threading.Thread(target=print, args=('a',)).start()",
        "import os; print(os.environ['HOME'], os.environ.get('USER'), os.sched_getaffinity(0))",
    ],
)
def test_a_forked_command_behaves_like_a_real_one(code: str, tmp_path: Path) -> None:
    words = ("-c", code, "a", "b c")
    options = {"cwd": tmp_path, "env": {"HOME": "/nowhere", "LC_CTYPE": "C.UTF-8"}, "input": "typed\n"}
    assert run(fork_server.python(), *words, **options) == run(sys.executable, *words, **options)


def test_an_error_is_reported(tmp_path: Path) -> None:
    code, _, errors = run(fork_server.python(), "-c", "1 / 0", cwd=tmp_path)
    assert code == 1
    assert "ZeroDivisionError: division by zero" in errors


def test_code_is_imported_from_the_folder_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "tinylm").mkdir()
    (tmp_path / "tinylm/__main__.py").write_text("print('another')")
    assert run(fork_server.python(), "-m", "tinylm", cwd=tmp_path)[1] == "another\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_command_and_its_child(number: signal.Signals) -> None:
    words = [fork_server.python(), "-c", f"import os; print(os.getpid(), flush=True); {WAIT}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as command:
        assert command.stdout
        child = psutil.Process(int(command.stdout.readline()))
        assert command.stdout.readline() == "here\n"
        os.kill(command.pid, number)
        assert command.wait(60) == -number
        assert not psutil.wait_procs([child], timeout=60)[1]
