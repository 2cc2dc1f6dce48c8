"""The stage: every source gives the same two files and one metrics file, and loads no library it does not need."""

import hashlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.download import main
from tests.support.tiny import PARAMS, stories
from tinylm.base.errors import UserError
from tinylm.base.params import Params
from tinylm.corpus.storage import read_stories
from tinylm.download import sample
from tinylm.download.params import DownloadParams

ROOT = Path(__file__).parent.parent.parent
TRAIN, VAL = Path("artifacts/corpus/train.parquet"), Path("artifacts/corpus/val.parquet")


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def download(**changes: Any) -> dict[str, Any]:
    """Run the stage; return its metrics."""
    values = PARAMS[DownloadParams].model_dump() | {"sample_stories": 300} | changes
    main(Params({"download": DownloadParams(**values)}))
    return dict(json.loads(Path("metrics/download.json").read_text(encoding="utf-8")))


def write_stories(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n<|endoftext|>\n" for text in texts), encoding="utf-8")


def test_sample() -> None:
    metrics = download()
    told = list(sample.stories(300, 1337))
    train, val = list(read_stories(TRAIN)), list(read_stories(VAL))
    assert sorted(train + val) == sorted(told)
    assert metrics == {
        "source": "sample",
        "source_used": "sample",
        "train": {"stories": len(train), "bytes": sum(len(story.encode()) for story in train)},
        "val": {"stories": len(val), "bytes": sum(len(story.encode()) for story in val)},
        "read": {"train": 300, "val": 0},
        "added_by_cutting": {"train": 0, "val": 0},
        "dropped": {
            "train": {"empty": 0, "too_short": 0, "duplicate": 0, "in_validation": 0},
            "val": {"empty": 0, "too_short": 0, "duplicate": 0, "in_validation": 0},
        },
        "repaired": {
            "train": {"mojibake": 0, "control_characters": 0},
            "val": {"mojibake": 0, "control_characters": 0},
        },
        "provenance": {"seed": 1337, "stories": 300},
    }


def test_the_same_parameters_make_the_same_bytes() -> None:
    digests = set()
    for _ in range(2):
        download()
        outputs = (TRAIN, VAL, Path("metrics/download.json"))
        digests.add(hashlib.sha256(b"".join(path.read_bytes() for path in outputs)).hexdigest())
    assert len(digests) == 1


def test_a_sample_larger_than_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "story", lambda *_: "Once.")
    with pytest.raises(UserError, match=r"download\.sample_stories: .* ask for fewer"):
        download()


@pytest.mark.parametrize("source", ["sample", "files"])
def test_max_stories_takes_the_first_ones(workplace: Path, source: str) -> None:
    write_stories(workplace / "own.txt", [*stories(1), "", *stories(100)[1:]])
    metrics = download(source=source, paths=["own.txt"], max_stories=50)
    assert metrics["read"] == {"train": 50, "val": 0}
    expected = stories(49) if source == "files" else sample.stories(50, 1337)
    assert sorted([*read_stories(TRAIN), *read_stories(VAL)]) == sorted(expected)


def test_files_with_a_validation_file_of_their_own(workplace: Path) -> None:
    write_stories(workplace / "data/train.txt", stories(100))
    write_stories(workplace / "data/valid.txt", stories(120)[95:])
    metrics = download(source="files", paths=["data/train.txt"], val_paths=["data/valid.txt"], max_stories=99)
    assert list(read_stories(TRAIN)) == stories(95)
    assert list(read_stories(VAL)) == stories(120)[95:]
    assert metrics["dropped"]["train"] == {"empty": 0, "too_short": 0, "duplicate": 0, "in_validation": 4}
    content = (workplace / "data/valid.txt").read_bytes()
    assert metrics["provenance"]["val_paths"] == [
        {"path": "data/valid.txt", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    ]


def test_paths_are_relative_to_the_users_repository(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC runs temporary experiments in a copy without the files that git does not track."""
    write_stories(workplace / "repository/own.txt", stories(100))
    (workplace / "copy").mkdir()
    monkeypatch.chdir(workplace / "copy")
    monkeypatch.setenv("DVC_ROOT", str(workplace / "repository"))
    assert download(source="files", paths=["own.txt"])["read"]["train"] == 100
    assert download(source="files", paths=[str(workplace / "repository")])["read"]["train"] == 100


def test_a_file_with_a_single_story_is_an_error_with_a_remedy(workplace: Path) -> None:
    (workplace / "own.txt").write_text("One.\n\nTwo.\n\nThree.")
    with pytest.raises(UserError, match="files: expected at least 2 different stories, .* got 1: .*download.separator"):
        download(source="files", paths=["own.txt"])
    assert not Path("metrics").exists()
    assert download(source="files", paths=["own.txt"], separator="blank_line")["read"]["train"] == 3


def test_the_log_has_the_sizes_of_both_splits(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    metrics = download()
    train, val = metrics["train"], metrics["val"]["stories"]
    line = f"sample: {train['stories']} training stories ({train['bytes'] / 1e6:.1f} MB), {val} validation stories"
    assert caplog.messages == [line]


@pytest.mark.parametrize("source", ["sample", "files"])
def test_without_the_hub_its_libraries_are_not_loaded(workplace: Path, source: str) -> None:
    write_stories(workplace / "own.txt", stories(100))
    code = f"""
import sys
from stages.download import main
from tinylm.base.params import Params, read_params
from tinylm.download.params import DownloadParams
p = read_params({str(ROOT / "params.yaml")!r})[DownloadParams]
main(Params({{"download": p.model_copy(update=dict(source={source!r}, paths=("own.txt",), sample_stories=100))}}))
print(*sorted({{"datasets", "huggingface_hub", "torch", "pandas"}} & sys.modules.keys()))
"""
    run = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(run, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
