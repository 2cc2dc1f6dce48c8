"""Another repository takes the model out of this one: by its path, by a registered version, and by a stage."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.pipeline.test_remotes import NO_ADDRESS, give_address, s3, sftp
from tests.support.clone import Clone
from tests.support.documentation import FENCE
from tests.support.tiny import ROOT
from tinylm.sampling.request import GenerationRequest
from tinylm.sampling.streaming import open_generator

MODEL = "artifacts/model"
PAGE = (ROOT / "docs/how-to/registry.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.slow


@dataclass
class Published:
    """A repository with registered models, whose files are in a storage."""

    clone: Clone
    storage: str
    models: dict[str, dict[str, bytes]]  # the files of each, by what names their commit

    @property
    def url(self) -> str:
        """The address of the repository; a path would let DVC use its cache and its settings."""
        return f"file://{self.clone.root}"


@pytest.fixture(scope="module")
def published(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Version 1 is in production, version 2 is the highest, and the branch and an experiment are not registered.

    In git are only the files that DVC reads: every test clones the repository, and the code takes the longest.
    """
    clone = ran.copy(tmp_path_factory.mktemp("published") / "clone")
    clone.git("checkout", "--quiet", "--orphan", "published")
    clone.git("read-tree", "--empty")
    clone.git("add", ".dvc", ".gitignore", "dvc.lock", "dvc.yaml", "params.yaml")
    clone.git("branch", "--delete", "--force", "main")
    models = {}
    for name in ("v1", "v2", "branch", "experiment"):
        with (clone.root / MODEL / "README.md").open("a", encoding="utf-8") as card:
            card.write(f"{name}\n")  # other files without another training
        clone.dvc("commit", "--force", "train")
        models[name] = files(clone.root / MODEL)
        if name != "experiment":
            clone.git("add", "dvc.lock")
            clone.git("commit", "--quiet", "--message", name)
        if name in ("v1", "v2"):
            clone.gto("register", "model", "--version", f"{name}.0.0")
    clone.dvc("exp", "save", "--name", "tried")
    clone.gto("assign", "model", "--version", "v1.0.0", "--stage", "prod")
    storage = str(tmp_path_factory.mktemp("storage"))
    give_address(clone, storage)
    clone.dvc("push", "--all-commits", MODEL)
    return Published(clone, storage, models)


@pytest.fixture
def other(tmp_path: Path) -> Clone:
    """Another repository, which has nothing of this one."""
    (tmp_path / "other").mkdir()
    other = Clone.at(tmp_path / "other")
    other.git("init", "--quiet")
    return other


def at(address: str) -> list[str]:
    """Return the page's options for a storage."""
    return ["--remote", "shared", "--remote-config", f"url={address}", "verify=true"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_model_that_another_repository_gets_writes(published: Published, other: Clone) -> None:
    other.dvc("get", published.url, MODEL, *at(published.storage))
    assert files(other.root / "model") == published.models["branch"]
    assert AutoModelForCausalLM.from_pretrained(other.root / "model").config.num_hidden_layers == 1
    request = GenerationRequest(
        prompt="Once upon a time", temperature=1.0, top_k=None, top_p=None, max_tokens=30, seed=1
    )
    assert "".join(open_generator(other.root / "model").stream(request))


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        (["artifacts", "get", "model"], "v2"),
        (["artifacts", "get", "model", "--rev", "v1.0.0"], "v1"),
        (["artifacts", "get", "model", "--stage", "prod"], "v1"),
        (["get", MODEL, "--rev", "model@v1.0.0"], "v1"),
        (["get", MODEL, "--rev", "tried"], "experiment"),
    ],
    ids=" ".join,
)
def test_a_version_is_that_of_its_commit(published: Published, other: Clone, arguments: list[str], model: str) -> None:
    other.dvc(*of(published, arguments), *at(published.storage))
    assert files(other.root / "model") == published.models[model]


def of(published: Published, arguments: list[str]) -> list[str]:
    """Return a command with the address of the repository after `get`."""
    start = arguments.index("get") + 1
    return [*arguments[:start], published.url, *arguments[start:]]


@pytest.mark.parametrize(
    ("arguments", "storage", "message"),
    [
        (["get", MODEL], None, NO_ADDRESS),
        (["artifacts", "get", "model"], None, NO_ADDRESS),
        (["artifacts", "get", "tokens"], "pushed", "Unable to find artifact 'tokens'"),
        (["artifacts", "get", "model", "--rev", "v3.0.0"], "pushed", "Unable to find artifact 'model @ v3.0.0'"),
        (["get", MODEL, "--rev", "v1.0.0"], "pushed", "unknown Git revision 'v1.0.0'"),
        (["get", MODEL], "empty", "No such file or directory: "),
    ],
)
def test_a_mistake_is_explained(
    published: Published, other: Clone, arguments: list[str], storage: str | None, message: str
) -> None:
    addresses = {"pushed": published.storage, "empty": str(other.root / "empty")}
    settings = at(addresses[storage]) if storage else []
    output = other.fail(*of(published, arguments), *settings)
    assert message in output
    assert "Traceback" not in output
    assert not (other.root / "model").exists()
    assert message.strip().replace("'tokens'", "'NAME'") in PAGE


def test_a_withdrawn_version_is_there_until_its_tag_is_deleted(
    published: Published, other: Clone, tmp_path: Path
) -> None:
    """DVC finds the tags that register or assign, and not those with which GTO takes this back."""
    clone = Clone.of(published.clone, tmp_path / "clone")
    get = ["artifacts", "get", f"file://{clone.root}", "model", *at(published.storage)]
    clone.gto("deprecate", "model", "v1.0.0", "prod")
    assert "prod" not in clone.gto("show")
    other.dvc(*get, "--stage", "prod", "--out", "assigned")
    assert files(other.root / "assigned") == published.models["v1"]
    clone.gto("deprecate", "model", "v2.0.0", "--delete")
    other.dvc(*get)
    assert files(other.root / "model") == published.models["v1"]


def test_an_import_follows_the_versions(published: Published, other: Clone) -> None:
    settings = at(published.storage)
    other.dvc("init", "--quiet")
    other.dvc("import", published.url, MODEL, "--rev", "model@v1.0.0", *settings)
    assert files(other.root / "model") == published.models["v1"]
    other.dvc("update", "model.dvc", "--rev", "model@v2.0.0")
    assert files(other.root / "model") == published.models["v2"]
    shutil.rmtree(other.root / "model")
    shutil.rmtree(other.root / ".dvc/cache")
    other.dvc("pull")
    assert files(other.root / "model") == published.models["v2"]


def test_the_python_of_the_page(published: Published, other: Clone) -> None:
    (code,) = (text for language, text in FENCE.findall(PAGE) if language == "python")
    other.python("-c", code.replace("REPOSITORY", published.url).replace("ADDRESS", published.storage))
    assert files(other.root / "model") == published.models["v1"]


@pytest.mark.torture
@pytest.mark.parametrize("kind", [s3, sftp])
def test_the_model_comes_from_a_server(kind, published: Published, other: Clone, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    clone = published.clone.copy(tmp_path / "clone")
    (clone.root / ".dvc/config.local").unlink()
    with kind(clone, tmp_path / "server") as (address, settings):
        others = [f"{name}={value}" for name, value in settings.items()]
        other.dvc("get", published.url, MODEL, "--rev", "tried", *at(address), *others)
    assert files(other.root / "model") == published.models["experiment"]
