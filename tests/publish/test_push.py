"""`tinylm push` against a server that speaks the Hub's API for uploads, with faults."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http, _xet

from tests.support.upload_hub import COMMIT, CUT, Repository, UploadHub, upload_hub
from tinylm.base.atomic import sha256
from tinylm.cli.main import main

NAME = "julia/stories"
LFS, XET = "PUT /stored/", "POST /cas/v1/xorbs/"  # the requests that send weights
WEIGHTS = bytes(range(256)) * 1000


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[UploadHub]:
    """A hub, and a user who has logged in there. Large files go through LFS, and retries do not wait."""
    with upload_hub() as opened:
        monkeypatch.setattr(constants, "ENDPOINT", opened.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
        monkeypatch.setenv("HF_TOKEN", "hf_julia")
        yield opened
        huggingface_hub.close_session()


@pytest.fixture
def xet(hub: UploadHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[UploadHub]:
    """The same, where large files go through Xet, as on the Hub; its cache is empty."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    for name, value in {"HF_XET_CACHE": str(tmp_path / "xet"), "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    _xet.abort_xet_session()  # another one has read other settings
    yield hub
    _xet.abort_xet_session()


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and the card of its run."""
    monkeypatch.chdir(tmp_path)
    model = write_model(tmp_path / "artifacts/model")
    (model / "README.md").write_text("the card of training")
    (model / "training.json").write_text('{"step": 1}')
    card = tmp_path / "artifacts/card/README.md"
    card.parent.mkdir()
    code = 'pipeline("text-generation", "artifacts/model")'
    card.write_text(f"---\na: b\n---\n\n{code}\n{sha256(model / 'model.safetensors')}\n")
    return tmp_path


def write_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


def push(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """Run a push; return its output, or its one line of error."""
    assert main(["push", NAME, *words]) == code
    output = capsys.readouterr()
    if not code:
        return output.out
    (line,) = [line for line in output.err.splitlines() if line.startswith("error: ")]
    return line


def test_a_push_makes_a_repository_with_the_model_and_its_card(
    hub: UploadHub, capsys: pytest.CaptureFixture[str]
) -> None:
    output = push(capsys)
    repository = hub.repositories[NAME]
    assert not repository.private
    assert repository.commits == 1
    assert repository.files["model.safetensors"] == WEIGHTS
    assert set(repository.files) == {
        *(".gitattributes", "README.md", "config.json", "model.safetensors", "tokenizer.json", "training.json"),
    }
    card = repository.files["README.md"].decode()
    assert 'pipeline("text-generation", "julia/stories")' in card
    assert output.endswith(f"julia/stories is new, public\nsent: {hub.endpoint}/{NAME}/commit/{COMMIT}\n")


def test_it_lists_what_it_sends_before_it_sends_it(hub: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run lists the same, and does not even ask the Hub."""
    Path("artifacts/model/notes.log").touch()
    Path("artifacts/model/.hidden.json").touch()
    output = push(capsys, "--dry-run")
    lines = output.splitlines()
    assert lines[0] == f"artifacts/model -> {hub.endpoint}/{NAME}"
    assert lines[3].split() == ["model.safetensors", "256.0", "kB", "artifacts/model/model.safetensors"]
    assert [line.split()[0] for line in lines[1:6]] == sorted(
        ["README.md", "config.json", "model.safetensors", "tokenizer.json", "training.json"]
    )
    assert lines[6:] == [
        "  5 files, 256.1 kB",
        "not sent: .hidden.json, notes.log",
        "nothing was sent: --dry-run",
    ]
    assert hub.requests == []
    assert push(capsys).splitlines()[:8] == lines[:8]


def test_a_second_push_sends_nothing_and_says_so(hub: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    push(capsys)
    before = hub.sent("PUT|POST")
    assert push(capsys).endswith("has all of these files already; nothing was sent\n")
    assert hub.sent("PUT|POST") == before
    assert hub.repositories[NAME].commits == 1


def test_only_changed_files_are_sent(hub: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    push(capsys)
    Path("artifacts/model/config.json").write_text("[]")  # as long as before
    assert "4 of 5 files are there already; sending config.json" in push(capsys)
    assert hub.repositories[NAME].files["config.json"] == b"[]"
    assert hub.sent(LFS) == 1


def test_changed_weights_of_the_same_size_are_sent(hub: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    push(capsys)
    weights, card = Path("artifacts/model/model.safetensors"), Path("artifacts/card/README.md")
    before = sha256(weights)
    weights.write_bytes(WEIGHTS[::-1])
    card.write_text(card.read_text().replace(before, sha256(weights)))
    assert "sending README.md, model.safetensors" in push(capsys)
    assert hub.repositories[NAME].files["model.safetensors"] == WEIGHTS[::-1]


def test_private(hub: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert "julia/stories is new, private\n" in push(capsys, "--private")
    assert hub.repositories[NAME].private
    assert "julia/stories is private\n" in push(capsys)  # and stays so


def test_a_public_repository_is_not_taken_for_a_private_one(hub: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.repositories[NAME] = Repository(private=False)
    message = "error: julia/stories: --private expected a private repository, got a public one; change it at"
    assert push(capsys, "--private", code=1).startswith(message)
    assert hub.repositories[NAME].commits == 0


def test_without_a_token(hub: UploadHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("HF_TOKEN")
    line = push(capsys, code=1)
    assert line.startswith("error: the Hub needs a token, and there is none; make one that may write, at")
    assert line.endswith("/settings/tokens, then run `hf auth login`, or set HF_TOKEN")
    assert hub.requests == []


def test_with_a_bad_token(hub: UploadHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    line = push(capsys, code=1)
    assert line.startswith(f"error: {hub.endpoint} does not accept the token; make a new one at")
    assert hub.repositories == {}


def test_with_a_token_that_may_only_read(
    hub: UploadHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    line = push(capsys, code=1)
    assert line.startswith("error: julia/stories: julia may not write there with this token (it may only read);")
    assert hub.repositories == {}


def test_into_the_repository_of_others(hub: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "romeo/stories"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: romeo/stories: julia may not write there with this token (403 Forbidden")
    assert "name another repository" in line


def test_a_token_without_the_right_to_commit(
    hub: UploadHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_fine")
    hub.fail("POST .*/commit/main", 403, message="Not with this token")
    assert "julia may not write there with this token (403 Forbidden: Not with this" in push(capsys, code=1)


def test_without_a_network(hub: UploadHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    line = push(capsys, code=1)
    assert line.startswith("error: cannot reach http://127.0.0.1:9 (")
    assert line.endswith("check the network and HF_ENDPOINT")


def test_a_server_that_is_no_hub(hub: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.fail("GET /api/whoami", 200, message="a hotel's page")
    assert push(capsys, code=1).startswith(f"error: cannot reach {hub.endpoint} (")


@pytest.mark.parametrize("answer", [500, CUT])
def test_a_fault_that_passes_is_not_seen(hub: UploadHub, capsys: pytest.CaptureFixture[str], answer: int | str) -> None:
    hub.fail(LFS, answer, times=2)
    push(capsys)
    assert hub.repositories[NAME].files["model.safetensors"] == WEIGHTS


@pytest.mark.parametrize("answer", [500, CUT])
@pytest.mark.parametrize("request_", [LFS, "POST .*/commit/main"])
def test_an_interrupted_push_continues(
    hub: UploadHub, capsys: pytest.CaptureFixture[str], request_: str, answer: int | str
) -> None:
    """What has arrived is not sent again; the repository has all of the push, or nothing of it."""
    hub.fail(request_, answer, times=9)
    line = push(capsys, code=1)
    assert line.startswith("error: julia/stories: the push was interrupted (")
    assert line.endswith("run the same command again: what has arrived is not sent again")
    assert set(hub.repositories[NAME].files) == {".gitattributes"}
    hub.faults.clear()
    assert "julia/stories is public\nsent: " in push(capsys)
    assert hub.repositories[NAME].files["model.safetensors"] == WEIGHTS
    assert hub.sent(LFS) == 1


def test_a_card_that_the_hub_refuses_is_named(hub: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.fail("POST /api/validate-yaml", 400, message="license is not valid")
    line = push(capsys, code=1)
    assert "refuses the push (Invalid metadata in README.md." in line
    assert hub.sent(LFS) == 0


def test_what_the_hub_says_about_a_card_is_shown(hub: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.warnings = ["language is not set"]
    assert "warning: Warnings while validating metadata in README.md: - language is not set\n" in push(capsys)


def test_through_xet(xet: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    """The Hub's own storage: the block with the weights is sent once, also over a push that broke off."""
    xet.fail("POST .*/commit/main", 500)
    assert "the push was interrupted" in push(capsys, code=1)
    assert xet.sent(XET) == 1
    push(capsys)
    assert xet.sent(XET) == 1
    assert xet.repositories[NAME].files["model.safetensors"].oid == sha256(Path("artifacts/model/model.safetensors"))
    assert push(capsys).endswith("nothing was sent\n")
    assert xet.sent(LFS) == 0


def test_a_fault_of_xet_is_one_line(xet: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    xet.fail(XET, 500, times=9)
    assert push(capsys, code=1).startswith("error: julia/stories: the push was interrupted (")
    xet.faults.clear()
    push(capsys)
    assert xet.repositories[NAME].commits == 1


@pytest.mark.parametrize("name", ["stories", "julia/my/stories", "julia/a b", "julia/..", "/stories"])
def test_a_name_that_the_hub_does_not_know_is_refused(
    hub: UploadHub, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["push", name]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: expected the name of a repository, as in julia/stories")
    assert hub.requests == []
