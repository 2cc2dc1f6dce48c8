"""What a push sends: the files of a model folder, with a model card as their README.md."""

from dataclasses import dataclass
from pathlib import Path

from tinylm.base.atomic import sha256
from tinylm.base.errors import UserError, quote_path
from tinylm.base.reading import check_file, read_text
from tinylm.model.card import CARD, FOLDER

RUN_CARD = Path("artifacts/card") / CARD  # by the stage `report`; describes the model in FOLDER
WEIGHTS = "model.safetensors"
REQUIRED = ("config.json", WEIGHTS, "tokenizer.json")  # without which nobody can load it
SUFFIXES = (".json", ".safetensors", ".txt", ".jinja", ".model", ".md")  # of a model's files; others are not sent
LARGEST_CARD = 1 << 20  # bytes
REMEDY = "train a model with `make repro`, or name another folder with --model"


@dataclass(frozen=True)
class Upload:
    """A file to send."""

    name: str  # in the repository
    content: Path | bytes
    origin: Path

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class Contents:
    """All that a push sends, and what it leaves where it is."""

    uploads: list[Upload]  # by name
    left_out: list[str]  # names of files and folders


def collect(folder: Path, card: Path | None, repository: str) -> Contents:
    """Return the files of the model in `folder`, and `card` or the run's card as README.md.

    Code in the card that loads FOLDER will load `repository`. Raises UserError if a file that a model needs is missing,
    or if there is no card that describes it.
    """
    for name in REQUIRED:
        check_file(folder / name, REMEDY)
    card = card or find_card(folder)
    text = read_text(card, "name another file with --card", LARGEST_CARD).replace(f'"{FOLDER}"', f'"{repository}"')
    entries = sorted(path for path in folder.iterdir() if path.name != CARD)
    sent = [path for path in entries if path.is_file() and path.suffix in SUFFIXES and not path.name.startswith(".")]
    uploads = [Upload(CARD, text.encode(), card), *(Upload(path.name, path, path) for path in sent)]
    return Contents(uploads, [path.name for path in entries if path not in sent])


def find_card(folder: Path) -> Path:
    """Return the card of a model: that of the run for the run's model, else the README.md in its folder.

    Raises UserError if there is none, or if the run's card describes other weights than these.
    """
    if folder.resolve() != Path(FOLDER).resolve():
        check_file(folder / CARD, "write a model card there, or name one with --card")
        return folder / CARD
    text = read_text(RUN_CARD, "write it with `dvc repro`, or name a card with --card", LARGEST_CARD)
    if sha256(folder / WEIGHTS) not in text:
        raise UserError(
            f"{RUN_CARD}: expected the card of the weights in {quote_path(folder)}, got one of others; write it with "
            "`dvc repro`, or name a card with --card"
        )
    return RUN_CARD
