"""The scaling law of a kind of text: bits per byte L as a function of parameters N and training tokens D.

It has one of two forms: that of Hoffmann et al. 2022 (arXiv:2203.15556), in which size and data act by themselves, or
that of Kaplan et al. 2020 (arXiv:2001.08361) with a floor added, in which a larger model gains more from more data.
`tinylm scale` fits both to runs and writes the better one to `scaling/NAME.json`; `tinylm plan` reads the laws there
and takes the one for the text that a parameter file names.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict
from typing_extensions import TypedDict

from tinylm.base.errors import UserError, quote_path
from tinylm.base.params import Params
from tinylm.base.reading import read_as
from tinylm.download.params import DownloadParams
from tinylm.planning.sizes import Parameters

FOLDER = Path("scaling")
REMEDY = "fit it again: tinylm scale --show"
Counts = Literal["blocks", "all"]
Form = Literal["hoffmann", "kaplan"]


@dataclass(frozen=True)
class Law:
    """L = E + A / N^alpha + B / D^beta; `N` and `D` below are plain counts."""

    E: float  # what no model gets below [bits per byte]
    A: float
    alpha: float
    B: float
    beta: float

    def predict(self, parameters: float, tokens: float) -> float:
        """Return the bits per byte of a model of so many parameters, trained on so many tokens."""
        return float(self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta)

    def __str__(self) -> str:
        return f"{self.E:.4f} + {self.A:.4g} / N^{self.alpha:.3f} + {self.B:.4g} / D^{self.beta:.3f}"


class KaplanLaw(Law):
    """L = E + (A / N^alpha + B / D)^beta."""

    def predict(self, parameters: float, tokens: float) -> float:
        return float(self.E + (self.A / parameters**self.alpha + self.B / tokens) ** self.beta)

    def __str__(self) -> str:
        return f"{self.E:.4f} + ({self.A:.4g} / N^{self.alpha:.3f} + {self.B:.4g} / D)^{self.beta:.3f}"


FORMS: dict[Form, type[Law]] = {"hoffmann": Law, "kaplan": KaplanLaw}


class Fitted(TypedDict):
    """The part of scaling/NAME.json that is read again."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    data: dict[str, Any]  # what identifies the text: see `data_of`
    counts: Counts  # which parameters N counts: those of the blocks, or all
    form: Form
    law: dict[str, float]
    typical_error: float  # of the logarithm of L: root mean square, each run predicted from the others
    parameters: tuple[float, float]  # smallest and largest N of the runs
    tokens: tuple[float, float]


@dataclass(frozen=True)
class KnownLaw:
    """A law that was fitted to runs, and the range of these."""

    path: str
    law: Law
    counts: Counts
    vocab_size: int
    typical_error: float
    parameters: tuple[float, float]
    tokens: tuple[float, float]

    def predict(self, size: Parameters, tokens: float) -> float:
        """Return the bits per byte to expect."""
        return self.law.predict(counted(size, self.counts), tokens)

    def beyond(self, size: Parameters, tokens: float) -> float:
        """Return how far outside of the runs a model or its tokens are, as a factor; at most 1 is inside."""
        return max(
            counted(size, self.counts) / self.parameters[1],
            self.parameters[0] / counted(size, self.counts),
            tokens / self.tokens[1],
            self.tokens[0] / tokens,
        )


def counted(size: Parameters, counts: Counts) -> int:
    """Return N: the parameters that a law counts."""
    return size.blocks if counts == "blocks" else size.total


def data_of(p: DownloadParams) -> dict[str, Any]:
    """Return what identifies a text for a law: its source, and what says which text of that source it is."""
    which: dict[str, dict[str, Any]] = {"tinystories": {"variant": p.variant}, "files": {"paths": list(p.paths)}}
    return {"source": p.source, **which.get(p.source, {})}


def is_about(known: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a law of the text `known` is one of `wanted`: the same text, or the files that its runs saw of it."""
    seen = wanted["source"] == "files" and known.get("measured_on") == wanted["paths"]
    return seen or all(known.get(key) == value for key, value in wanted.items())


def find_law(params: Params, folder: Path = FOLDER) -> KnownLaw | None:
    """Return the law for the text of `params`, of several the one with the smallest error; None if there is none.

    Raises UserError for a file that is no law.
    """
    wanted = data_of(params[DownloadParams])
    laws = [law for path in sorted(folder.glob("*.json")) if (law := read_law(path, wanted))]
    return min(laws, key=lambda law: law.typical_error, default=None)


def read_law(path: Path, data: dict[str, Any]) -> KnownLaw | None:
    """Read a law; None if it is of another text than `data` says. Raises UserError if the file is no law."""
    found = read_as(Fitted, path, REMEDY)
    if not is_about(found["data"], data):
        return None
    if found["law"].keys() != asdict(Law(0, 0, 0, 0, 0)).keys():
        raise UserError(
            f"{quote_path(path)}: law: expected E, A, alpha, B and beta, got {list(found['law'])}; {REMEDY}"
        )
    return KnownLaw(
        path.as_posix(),
        FORMS[found["form"]](**found["law"]),
        found["counts"],
        int(found["data"].get("vocab_size", 0)),
        found["typical_error"],
        found["parameters"],
        found["tokens"],
    )
