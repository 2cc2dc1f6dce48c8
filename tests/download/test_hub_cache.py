"""Which cached files suffice, and the errors for damaged ones. test_hub.py has a whole run."""

import errno
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from tinylm.base.errors import UserError
from tinylm.download import hub, hub_cache

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRAIN = [f"train-{n:05d}-of-00003-2d5a1467fff1081b.parquet" for n in range(3)]
VALIDATION = "validation-00000-of-00001-869c898b519ad725.parquet"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a complete cache, as `hf download` fills it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "datasets--roneneldan--TinyStories"
    folder = repository / "snapshots" / COMMIT / "data"
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    for name in [*TRAIN, VALIDATION]:
        pq.write_table(pa.table({"text": [f"{name} {n}" for n in range(10)]}), folder / name)
    return folder


@pytest.mark.parametrize("revision", [COMMIT, "main"])
@pytest.mark.parametrize("limit", [5, None])
def test_a_complete_cache(data: Path, revision: str, limit: int | None) -> None:
    snapshot = hub.open_tinystories(revision, "v1", limit)
    assert snapshot.commit == COMMIT
    assert list(snapshot.train) == [f"{name} {n}" for name in TRAIN for n in range(10)]
    assert list(snapshot.val) == [f"{VALIDATION} {n}" for n in range(10)]


@pytest.mark.parametrize(
    ("missing", "limit", "enough"),
    [
        ([], None, True),
        ([0], 5, False),
        ([1], 10, True),
        ([1], 11, False),
        ([1], None, False),
        ([2], 20, True),
        ([0, 1, 2], 1, False),
        (["validation"], 1, False),
    ],
)
def test_the_first_files_suffice_for_a_limit(data: Path, missing: list[int], limit: int | None, enough: bool) -> None:
    for name in missing:
        (data / (VALIDATION if name == "validation" else TRAIN[name])).unlink()
    found = hub_cache.cached_splits("roneneldan/TinyStories", COMMIT, limit, None)
    assert (found is not None) == enough
    if not enough:
        with pytest.raises(hub.HubUnreachableError, match=f"does not hold all of {COMMIT}"):
            hub.open_tinystories(COMMIT, "v1", limit)


def test_another_cached_revision_is_not_used(data: Path) -> None:
    with pytest.raises(hub.HubUnreachableError, match=f"does not hold all of {'f' * 40}"):
        hub.open_tinystories("f" * 40, "v1", None)


def test_a_dangling_link_is_a_missing_file(data: Path) -> None:
    (data / TRAIN[2]).unlink()
    (data / TRAIN[2]).symlink_to("gone")
    assert hub_cache.cached_splits("roneneldan/TinyStories", COMMIT, None, None) is None


@pytest.mark.parametrize("limit", [35, None])
def test_a_damaged_file(data: Path, limit: int | None) -> None:
    (data / TRAIN[1]).write_bytes((data / TRAIN[1]).read_bytes()[:-20])
    with pytest.raises(
        UserError, match=rf"{Path(TRAIN[1]).name}: damaged in the cache; try again after: rm '{data}/{TRAIN[1]}'"
    ):
        list(hub.open_tinystories(COMMIT, "v1", limit).train)


def test_a_damaged_file_among_the_first(data: Path) -> None:
    (data / TRAIN[2]).unlink()
    (data / TRAIN[1]).write_bytes(b"Once upon a time")
    with pytest.raises(UserError, match=f"{Path(TRAIN[1]).name}: damaged in the cache"):
        hub.open_tinystories(COMMIT, "v1", 15)


@pytest.mark.parametrize(("status", "unreachable"), [(403, False), (451, False), (429, True), (500, True), (503, True)])
def test_a_busy_hub_is_unreachable_and_one_that_refuses_is_not(status: int, unreachable: bool) -> None:
    response = type("Response", (), {"status_code": status, "headers": {}, "request": None})()
    error = hub._explain(HfHubHTTPError("what the Hub says", response=response), COMMIT)
    assert isinstance(error, hub.HubUnreachableError) == unreachable
    assert "what the Hub says" in str(error)


def test_a_local_error_is_not_an_unreachable_hub() -> None:
    full = hub._explain(OSError(errno.ENOSPC, "No space left on device"), COMMIT)
    denied = hub._explain(PermissionError(errno.EACCES, "Permission denied", "/cache"), COMMIT)
    for error in (full, denied):
        assert not isinstance(error, hub.HubUnreachableError)
        assert "cannot write to the cache" in str(error)


def test_the_cause_of_a_missing_entry_decides() -> None:
    missing = LocalEntryNotFoundError("cannot find the file")
    missing.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    error = hub._explain(missing, COMMIT)
    assert isinstance(error, hub.HubUnreachableError)
    assert "Connection refused" in str(error)
