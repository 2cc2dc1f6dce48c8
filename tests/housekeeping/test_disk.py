"""The table of `make disk`, and what its commands remove."""

import fcntl
import hashlib
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pipeline.test_remotes import give_address, names, with_cache
from tests.support.clone import Clone, stages_run
from tests.support.tiny import ROOT
from tinylm.cli.main import main
from tinylm.housekeeping import disk
from tinylm.housekeeping.cache import cache_use, experiments, is_cached

SLOW = pytest.mark.slow
GC, GC_COMMITS = (command.removeprefix("dvc ").split() for command in (disk.GC, disk.GC_COMMITS))


class Small:
    """A git repository with a DVC cache of known files."""

    def __init__(self, root: Path):
        self.root = root
        self.git("init", "--quiet", "--initial-branch=main")
        (root / ".dvc").mkdir()
        (root / ".dvc/config").touch()
        (root / "dvc.yaml").write_text(
            "stages:\n  one:\n    cmd: x\n    metrics:\n    - in_git:\n        cache: false\n"
        )

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=A Test", "-c", "user.email=test@example.org"]
        done = subprocess.run(["git", *who, *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def cache(self, content: bytes, ending: str = "") -> str:
        digest = hashlib.md5(content).hexdigest()
        path = self.root / ".dvc/cache/files/md5" / digest[:2] / (digest[2:] + ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return digest + ending

    def lock(self, *digests: str) -> None:
        """Write a dvc.lock with these outputs, an output that is in git, and a dependency."""
        outs = "".join(f"    - path: out{number}\n      md5: {digest}\n" for number, digest in enumerate(digests))
        deps = f"    deps:\n    - path: code.py\n      md5: {self.cache(b'x' * 7)}\n"
        outs += f"    - path: in_git\n      md5: {self.cache(b'g' * 11)}\n"
        (self.root / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  one:\n    cmd: x\n{deps}    outs:\n{outs}")

    def commit(self) -> str:
        self.git("add", "dvc.lock")
        self.git("commit", "--quiet", "--message", "x")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def test_cache_files_are_attributed_to_their_users(small: Small) -> None:
    inside = small.cache(b"i" * 1000)
    listing = json.dumps([{"md5": inside, "relpath": "a"}]).encode()
    folder = small.cache(listing, ".dir")
    shared, old, branch = small.cache(b"s" * 10_000), small.cache(b"o" * 200), small.cache(b"b" * 30)
    tried, removed = small.cache(b"t" * 40_000), small.cache(b"r" * 500_000)
    small.lock(shared, old)
    base = small.commit()
    exps = f"refs/exps/{base[:2]}/{base[2:]}"
    for digest, reference in (
        (tried, f"{exps}/tried"),
        (removed, "refs/exps/exec/EXEC_APPLY"),  # DVC's own, which `dvc gc` ignores
    ):
        small.lock(shared, digest, branch)
        small.git("update-ref", reference, small.commit())
        small.git("reset", "--quiet", "--hard", base)
    small.git("checkout", "--quiet", "-b", "other")
    small.lock(branch)
    small.commit()
    small.git("checkout", "--quiet", "main")
    small.lock(shared, folder)
    use = cache_use(small.root)
    assert use.workspace == 10_000 + len(listing) + 1000
    assert use.commits == 200
    assert use.commits_and_experiments == 30
    assert use.experiments == 40_000
    assert use.nobody == 500_000 + 7 + 11
    assert use.runs == 0
    assert experiments(small.root) == [f"{exps}/tried"]


def test_a_commit_is_cached_if_the_cache_has_every_output(small: Small) -> None:
    inside = small.cache(b"inside")
    listing = json.dumps([{"md5": inside, "relpath": "a"}]).encode()
    small.lock(small.cache(b"alone"), small.cache(listing, ".dir"))
    small.commit()
    (small.root / "dvc.lock").unlink()
    assert is_cached(small.root, "HEAD")
    files = small.root / ".dvc/cache/files/md5"
    in_git = hashlib.md5(b"g" * 11).hexdigest()
    (files / in_git[:2] / in_git[2:]).unlink()
    assert is_cached(small.root, "HEAD")
    (files / inside[:2] / inside[2:]).unlink()
    assert not is_cached(small.root, "HEAD")


def test_resume_checkpoints_of_a_running_run_are_kept(small: Small, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    small.lock()
    small.commit()
    for name, size in (("train-a", 1000), ("train-b", 20_000), ("train-c", 300_000)):
        run = small.root / ".resume" / name
        (run / "checkpoints").mkdir(parents=True)
        (run / "checkpoints/one").write_bytes(b"m" * size)
        (run / "lock").touch()
    (run / f"step_00000007-{0:016x}.safetensors").touch()
    monkeypatch.chdir(small.root)
    monkeypatch.delenv("TINYLM_RESUME", raising=False)
    with (small.root / ".resume/train-b/lock").open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        shown = {row.name: row.size for row in disk.rows(Path())}
        assert shown["resume: finished runs (1)"] == 1000
        assert shown["resume: interrupted runs (1)"] == 300_000
        assert shown["resume: running"] == 20_000
        assert main(["disk"]) == 0
        assert "resume: finished runs (1)" in capsys.readouterr().out
        assert main(["disk", "--json"]) == 0
        sizes = json.loads(capsys.readouterr().out)
        assert sizes["resume.finished"]["bytes"] == 1000
        assert sizes["resume.interrupted"]["name"] == "resume: interrupted runs (1)"
        assert len(sizes) == len(disk.rows(Path()))
        assert main(["disk", "--json", "--remove-resume"]) == 1
        assert capsys.readouterr().err == "error: --json: expected without --remove-resume; give one of them\n"
        assert main(["disk", "--remove-resume"]) == 0
    assert [path.name for path in (small.root / ".resume").iterdir()] == ["train-b"]
    output = capsys.readouterr().out
    assert "removed .resume/train-a, 1.0 kB\n" in output
    assert "removed .resume/train-c, 300.0 kB, of a run that was interrupted at step 7\n" in output


def test_links_are_distinguished_from_copies(small: Small) -> None:
    small.lock(small.cache(b"c" * 3000))
    small.commit()
    (small.root / "artifacts").mkdir()
    (small.root / "artifacts/copy").write_bytes(b"c" * 3000)
    cached = max((small.root / ".dvc/cache").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    os.link(cached, small.root / "artifacts/hard")
    (small.root / "artifacts/soft").symlink_to(cached)
    row = next(row for row in disk.rows(small.root) if row.name.startswith("artifacts/"))
    assert (row.name, row.size) == ("artifacts/, copies; 6.0 kB more are links to the cache", 3000)


def test_outside_the_repository_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["disk"]) == 1
    assert "run from the root" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1234, "1.2 kB"), (5.6e9, "5.6 GB")]
)
def test_sizes_are_short(count: int, text: str) -> None:
    assert disk.show(count) == text


class TestInAClone:
    pytestmark = SLOW

    @pytest.mark.torture
    def test_the_commands_of_the_readme_remove_what_they_say(self, ran: Clone, tmp_path: Path) -> None:
        clone = with_cache(ran, tmp_path / "clone")
        start = cache_use(clone.root)
        assert (start.commits, start.experiments) == (0, 0)
        for temperature in ("1.1", "1.2"):
            clone.dvc("exp", "run", "-n", f"at{temperature}", "-S", f"generate.temperature={temperature}")
            clone.git("checkout", "--quiet", "--force", "main")
        clone.dvc("checkout")
        next((clone.root / ".dvc/cache/files/md5").glob("??")).joinpath("x.tmp").touch()  # as left by a killed pull
        both = cache_use(clone.root)
        assert both.workspace == start.workspace
        clone.dvc(*GC)
        assert cache_use(clone.root) == replace(both, nobody=0)
        assert not list((clone.root / ".dvc/cache").rglob("*.tmp"))
        clone.dvc("exp", "remove", "at1.1")
        one = cache_use(clone.root)
        assert one.workspace == start.workspace
        assert one.nobody + one.experiments == both.experiments
        assert 0 < one.nobody < both.experiments
        clone.dvc(*GC)
        assert cache_use(clone.root).experiments == one.experiments
        assert cache_use(clone.root).nobody == 0
        assert "at1.2" in names(clone)
        clone.dvc("exp", "apply", "at1.2")
        assert stages_run(clone.dvc("repro")) == []

    def test_gc_works_with_a_history_that_was_never_pulled(self, ran: Clone, tmp_path: Path) -> None:
        clone = Clone.of(ran, tmp_path / "clone")
        clone.dvc("repro", "train_tokenizer")
        before = cache_use(clone.root)
        unused = clone.root / ".dvc/cache/files/md5/ab/c"
        unused.parent.mkdir(exist_ok=True)
        unused.write_bytes(b"x" * 5000)
        clone.dvc(*GC)
        assert not unused.exists()
        assert cache_use(clone.root).workspace == before.workspace > 0
        page = (ROOT / "docs/how-to/clean-up.md").read_text(encoding="utf-8")
        assert disk.GC in page
        assert disk.GC_COMMITS in page

    @pytest.mark.torture
    def test_other_commits_come_back_from_the_remote(self, ran: Clone, tmp_path: Path) -> None:
        clone = with_cache(ran, tmp_path / "clone")
        config = (clone.root / ".dvc/config").read_text(encoding="utf-8")
        (clone.root / ".dvc/config").write_text("[core]\n    analytics = false\n")  # no remote yet
        for temperature in (1.1, 1.2):
            clone.set_params({"generate.temperature": temperature})
            clone.dvc("repro")
            clone.commit(f"temperature {temperature}")
            (clone.root / ".dvc/config").write_text(config, encoding="utf-8")
        give_address(clone, str(tmp_path / "store"))
        assert cache_use(clone.root).commits > 0
        clone.dvc("push", "--all-commits")
        clone.dvc(*GC_COMMITS)
        assert cache_use(clone.root).commits == 0
        assert "up to date" in clone.dvc("status")
        clone.git("checkout", "--quiet", "HEAD~1")
        clone.dvc("pull")
        assert stages_run(clone.dvc("repro")) == []

    @pytest.mark.torture
    def test_links_instead_of_copies_work(self, ran: Clone, tmp_path: Path) -> None:
        clone = with_cache(ran, tmp_path / "clone")
        clone.dvc("config", "--local", "cache.type", "hardlink,symlink")
        clone.dvc("checkout", "--relink")
        row = next(row for row in disk.rows(clone.root) if row.name.startswith("artifacts/"))
        assert row.size < 1000
        assert "up to date" in clone.dvc("status")
        assert stages_run(clone.dvc("exp", "run", "-S", "generate.temperature=1.1")) == ["generate", "report"]
        clone.git("checkout", "--quiet", "--force", "main")
        clone.dvc("checkout")
        for path in (ran.root / "artifacts/stories").iterdir():
            assert (clone.root / "artifacts/stories" / path.name).read_bytes() == path.read_bytes()
