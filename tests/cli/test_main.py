"""`python -m tinylm` as a user runs it: stories on the terminal, mistakes in one line."""

import contextlib
import io
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import fork_server, tiny
from tinylm.base.errors import UserError
from tinylm.cli.main import main
from tinylm.cli.model_option import open_model
from tinylm.cli.write import SEPARATOR
from tinylm.generate.ratings_sheet import write_sheet
from tinylm.generate.stories import StoryGenerator, StorySet
from tinylm.model.folder import load_model
from tinylm.sampling.sampler import Sampling
from tinylm.tokenizer.loading import load_tokenizer

ENVIRON = os.environ | {"PYTHONPATH": str(tiny.ROOT), "OMP_NUM_THREADS": "1"}
ENVIRON.pop("DISPLAY", None)  # so that no browser opens


def tinylm(folder: Path, *words: str | bytes, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it in `folder`, which has a params.yaml only if a test puts one there."""
    python = sys.executable if environ else fork_server.python()  # a forked Python has already read its environment
    command = [python, "-m", "tinylm", *words]
    done = subprocess.run(command, cwd=folder, env=ENVIRON | environ, capture_output=True)
    # Decoded here: text mode would convert carriage returns, which an untrained model generates, to line ends.
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_stories_go_to_standard_output_and_notes_to_standard_error(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copy(tiny.ROOT / "params.yaml", tmp_path)
    options = ["--model", str(tiny_model), "--seed", "7", "--count", "2", "--max-tokens", "50", "--top-p", "none"]
    done = tinylm(tmp_path, "write", "Lily 😀", *options, "--temperature", "0.9", "--top-k", "200")
    assert done.returncode == 0
    sampling = Sampling(temperature=0.9, top_k=200, top_p=None, max_tokens=50, seed=7)
    tokenizer = load_tokenizer(tiny_model / "tokenizer.json")
    stories = StoryGenerator(load_model(tiny_model), tokenizer, 0).generate(StorySet(["Lily 😀"], sampling, 2))[0]
    assert done.stdout == f"{stories[0].text}\n{SEPARATOR}\n{stories[1].text}\n"
    notes = done.stderr.splitlines()
    assert notes[0] == "[seed 7, temperature 0.9, top-k 200]"
    for note, story in zip(notes[1:], stories, strict=True):
        how = "reached end-of-text" if story.ended else "reached the maximum length"
        assert re.fullmatch(rf"\[{how}: {story.tokens} tokens, [\d,]+ tokens/s\]", note)


def test_a_random_seed_is_printed_and_reproduces_the_story(tiny_model: Path, tmp_path: Path) -> None:
    options = ["write", "--model", str(tiny_model), "--max-tokens", "40"]
    first = tinylm(tmp_path, *options)  # without a prompt
    printed = re.match(r"\[seed (\d+), temperature 1\]\n", first.stderr)
    assert printed
    again = tinylm(tmp_path, *options, "--seed", printed[1])
    assert again.stdout == first.stdout != "\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "the following arguments are required: COMMAND; `python -m tinylm --help` lists the options"),
        (["sing"], 2, "argument COMMAND: invalid choice: 'sing'"),
        (["write", "--colour"], 2, "unrecognized arguments: --colour"),
        (["write", "--temperature", "hot"], 2, "argument --temperature: invalid float value: 'hot'"),
        (["write", "--top-k", "few"], 2, "argument --top-k: expected a number or `none`, got 'few'"),
        (["write", "--count", "0"], 2, "argument --count: expected a whole number of at least 1, got '0'"),
        (["write", "--temperature", "-1"], 1, "temperature: expected 0, or 0.001 to 10, got -1.0"),
        (["write", "--top-p", "nan"], 1, "top_p: expected a finite number, got nan"),
        (["write", b"a\xff"], 1, "prompt: expected Unicode text (UTF-8), got the lone surrogate U+DCFF"),
        (["write"], 1, "artifacts/model: expected a model (config.json, model.safetensors), got none; train one with"),
        (["serve", "--port", "99999"], 2, "argument --port: expected a number from 0 to 65535, got '99999'"),
        (["serve", "--port", "0"], 1, "artifacts/model: expected a model"),
    ],
)
def test_a_mistake_is_one_line(words: list[str | bytes], code: int, message: str, tmp_path: Path) -> None:
    done = tinylm(tmp_path, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"error: {message}")
    assert len(done.stderr.splitlines()) == 1


def test_a_mistake_that_only_the_model_can_detect(tiny_model: Path, tmp_path: Path) -> None:
    done = tinylm(tmp_path, "write", "x" * 300, "--model", str(tiny_model))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("error: prompt: expected fewer than 255 tokens (the longest story), got 300; shorten it\n")


class Recorder(io.RawIOBase):
    """A terminal that records each piece that is written to it."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self.pieces.append(bytes(piece))
        return len(piece)


def test_each_token_is_written_when_it_is_generated(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", io.TextIOWrapper(io.BufferedWriter(recorder), encoding="utf-8"))
        words = ["--model", str(tiny_model), "--seed", "7", "--max-tokens", "40", "--temperature", "0.5"]
        assert main(["write", "Tom", *words]) == 0
    assert recorder.pieces[0] == b"Tom"
    assert len(recorder.pieces) > 20


@contextlib.contextmanager
def writing_on(folder: Path, tiny_model: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes stories without end and has written its first bytes."""
    command = [sys.executable, "-m", "tinylm", "write", "Tom", "--model", str(tiny_model), "--count", "9999"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=ENVIRON,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.read(3) == b"Tom"
            yield process
        finally:
            process.kill()


def test_ctrl_c_ends_it_quietly(tiny_model: Path, tmp_path: Path) -> None:
    with writing_on(tmp_path, tiny_model) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert all(line.startswith("[") for line in errors.decode().splitlines())


def test_a_closed_pipe_ends_it_quietly(tiny_model: Path, tmp_path: Path) -> None:
    with writing_on(tmp_path, tiny_model) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=20) == 141
    assert all(line.startswith("[") for line in errors.decode().splitlines())


def test_a_terminal_gets_no_control_characters(tiny_model: Path, tmp_path: Path) -> None:
    """An untrained model generates all bytes, including escape sequences; output to a file keeps them."""
    words = ["write", "--model", str(tiny_model), "--temperature", "5", "--seed", "1"]
    plain = tinylm(tmp_path, *words).stdout
    assert re.search(r"[\x00-\x08\x0b-\x1f]", plain)
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "tinylm", *words]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRON, stdout=terminal, stderr=subprocess.DEVNULL) as process:
        os.close(terminal)
        shown = b""
        while part := _read(controller):
            shown += part
        assert process.wait() == 0
    os.close(controller)
    text = shown.decode().replace("\r\n", "\n")
    assert text == re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", plain)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other end is closed
        return b""


def test_a_terminal_without_unicode_gets_the_story(tiny_model: Path, tmp_path: Path) -> None:
    done = tinylm(tmp_path, "write", "😀!", "--model", str(tiny_model), PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.startswith("?!")


def test_help_is_quick() -> None:
    """It imports nothing that is slow to import."""
    code = (
        "import sys, tinylm.cli.main as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: print(sorted({'torch', 'aiohttp', 'pydantic', 'numpy', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRON, cwd=tiny.ROOT)
    assert done.stdout.endswith("\n[]\n")
    assert "generate stories on the terminal" in done.stdout


def test_ratings_are_read_back(tmp_path: Path) -> None:
    write_sheet(tmp_path, {"model, step 9": ["one", "two"], "human": ["three"]})
    sheet = (tmp_path / "ratings.csv").read_text(encoding="utf-8-sig").replace(",,,,", ",4,3,2,")
    (tmp_path / "ann.csv").write_text(sheet, encoding="utf-8")
    ran = tinylm(tmp_path, "ratings", "ann.csv", "--key", "ratings_key.json")
    assert ran.returncode == 0
    assert re.search(r"^model, step 9 +4\.00 \(4\.00 to 4\.00\) +3\.00 .* 2\.00", ran.stdout, re.MULTILINE)
    empty = tinylm(tmp_path, "ratings", "ratings.csv", "--key", "ratings_key.json")
    assert (empty.returncode, empty.stderr.count("\n")) == (1, 1)
    assert "no marks; fill in grammar" in empty.stderr


@pytest.mark.parametrize(("words", "compiled"), [([], False), (["--compile"], True)])
def test_serve_compiles_the_model_if_asked(words: list[str], compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, bool]] = []

    def open_model(folder: Path, compiled: bool, end_of_text: str | None) -> None:
        asked.append((folder, compiled))
        raise UserError("enough")

    monkeypatch.setattr("tinylm.cli.serve.open_model", open_model)
    assert main(["serve", "--port", "0", *words]) == 1
    assert asked == [(Path("artifacts/model"), compiled)]


def test_compilation_without_a_compiler(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(
        UserError, match=r"^--compile needs a C\+\+ compiler, which is missing; install it, or go without"
    ):
        open_model(tiny_model, compiled=True)
