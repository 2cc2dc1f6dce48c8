"""The tokenizer of a model folder, with <|endoftext|> as the name of the token that ends a story."""

from pathlib import Path

from tokenizers import Tokenizer

from tinylm.base.errors import UserError, quote
from tinylm.base.reading import check_file, read_object
from tinylm.tokenizer.end_of_text import with_end_of_text
from tinylm.tokenizer.loading import END_OF_TEXT, load_tokenizer

REMEDY = "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) of transformers writes it"


def tokenizer_file(folder: Path) -> Path:
    """Return the tokenizer file; checkpoints (artifacts/checkpoints/step_000250) share that of artifacts/model."""
    own, final = folder / "tokenizer.json", folder.resolve().parent.parent / "model" / "tokenizer.json"
    return final if final.is_file() and not own.is_file() else own


def load_own_tokenizer(folder: Path, end_of_text: str | None = None, remedy: str = REMEDY) -> Tokenizer:
    """Load the tokenizer of a model folder; `end_of_text` is its token that ends a story, None: find it.

    Raises UserError if the folder has no tokenizer, or if it does not tell which token ends a story.
    """
    path = tokenizer_file(folder)
    check_file(path, remedy)
    tokenizer = load_tokenizer(path)
    if end_of_text is None and tokenizer.token_to_id(END_OF_TEXT) is None:
        end_of_text = _find(folder, tokenizer)
    return with_end_of_text(tokenizer, end_of_text)


def lacks_end_of_text(folder: Path) -> bool:
    """Return whether the tokenizer of a model folder has no <|endoftext|>."""
    check_file(tokenizer_file(folder), REMEDY)
    return load_tokenizer(tokenizer_file(folder)).token_to_id(END_OF_TEXT) is None


def check_vocabulary(folder: Path, tokenizer: Tokenizer, rows: int, remedy: str) -> None:
    """Raise UserError if the tokenizer has more entries than the model's embedding has `rows`."""
    if (entries := tokenizer.get_vocab_size()) > rows:
        raise UserError(
            f"{folder}: expected at most {rows} tokenizer entries (the model's vocabulary), got {entries}; {remedy}"
        )


def _find(folder: Path, tokenizer: Tokenizer) -> str:
    """Return the only token that the folder's configuration names as the begin or end of a text.

    If it names two, training may have put either or both between texts, and a guess would spoil every score.
    """
    named: set[int] = set()
    for file in ("generation_config.json", "config.json"):
        if (folder / file).is_file():
            config = read_object(folder / file, "restore or remove it")
            for key in ("bos_token_id", "eos_token_id"):
                ids = config.get(key)
                named |= {id_ for id_ in (ids if isinstance(ids, list) else [ids]) if type(id_) is int and id_ >= 0}
    tokens = [token for token in map(tokenizer.id_to_token, sorted(named)) if token is not None]
    if len(tokens) == 1:
        return str(tokens[0])
    got = " and ".join(map(quote, tokens)) or "no candidate"
    raise UserError(
        f"{folder}: expected one token that ends a story, got {got}; name the one that stood between stories in the "
        f"model's training: --end-of-text {quote(tokens[-1]) if tokens else 'TOKEN'}"
    )
