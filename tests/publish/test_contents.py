"""What a push sends: which files, and which card."""

from pathlib import Path

import pytest

from tinylm.base.atomic import sha256
from tinylm.base.errors import UserError
from tinylm.publish.contents import collect

NAME = "julia/stories"


def write_model(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model of a run, with the cards of training and of the run."""
    monkeypatch.chdir(tmp_path)
    folder = write_model(Path("artifacts/model"))
    (folder / "README.md").write_text("the card of training")
    Path("artifacts/card").mkdir()
    Path("artifacts/card/README.md").write_text(f"the card of the run {sha256(folder / 'model.safetensors')}")
    return folder


def card_of(folder: Path, card: Path | None = None) -> str:
    first = collect(folder, card, NAME).uploads[0]
    assert first.name == "README.md"
    assert isinstance(first.content, bytes)
    return first.content.decode()


def test_the_card_of_the_run_goes_with_its_model(model: Path) -> None:
    assert card_of(model).startswith("the card of the run")
    assert card_of(model.resolve()).startswith("the card of the run")
    assert [upload.name for upload in collect(model, None, NAME).uploads].count("README.md") == 1


def test_the_card_of_another_run_is_refused(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"trained again")
    with pytest.raises(UserError, match="expected the card of the weights in artifacts/model, got one of others"):
        collect(model, None, NAME)


def test_a_run_without_a_card_is_refused(model: Path) -> None:
    Path("artifacts/card/README.md").unlink()
    with pytest.raises(UserError, match="README.md: not found; write it with `dvc repro`, or name a card with --card"):
        collect(model, None, NAME)


def test_a_card_can_be_named(model: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.md"
    mine.write_text('my card of "artifacts/model"')
    assert card_of(model, mine) == 'my card of "julia/stories"'
    mine.unlink()
    with pytest.raises(UserError, match="mine.md: not found; name another file with --card"):
        collect(model, mine, NAME)


def test_another_folder_has_its_own_card(model: Path) -> None:
    other = write_model(Path("other"))
    with pytest.raises(UserError, match="other/README.md: not found; write a model card there, or name one"):
        collect(other, None, NAME)
    (other / "README.md").write_text("its own")
    assert card_of(other) == "its own"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_nobody_can_load_is_refused(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(UserError, match=f"{name}: not found; train a model with `make repro`, or name another folder"):
        collect(model, None, NAME)


def test_only_files_of_a_model_are_sent(model: Path) -> None:
    for name in ("merges.txt", ".secret.json", "run.log", "optimizer.pt"):
        (model / name).touch()
    (model / "runs.json").mkdir()
    contents = collect(model, None, NAME)
    assert [upload.name for upload in contents.uploads] == [
        *("README.md", "config.json", "merges.txt", "model.safetensors", "tokenizer.json"),
    ]
    assert contents.left_out == [".secret.json", "optimizer.pt", "run.log", "runs.json"]


def test_sizes_are_those_of_what_is_sent(model: Path) -> None:
    sizes = {upload.name: upload.size for upload in collect(model, None, NAME).uploads}
    assert sizes["model.safetensors"] == 7
    assert sizes["README.md"] == len(card_of(model))
