"""Whether two tokenizers give every text the same ids."""

import json
from typing import Any

from tokenizers import Tokenizer


def difference(ours: Tokenizer, theirs: Tokenizer) -> str | None:
    """Return in what two tokenizers differ that changes ids, in a few words; None if they give the same ids."""
    a, b = _parts(ours), _parts(theirs)
    if len(a["vocabulary"]) != len(b["vocabulary"]):
        return f"{len(b['vocabulary']):,} entries and not {len(a['vocabulary']):,}"
    return next((f"another {name}" for name in a if a[name] != b[name]), None)


def _parts(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what determines the ids, by its name."""
    config = json.loads(tokenizer.to_str())
    config["model"].pop("vocab")
    added = [{key: value for key, value in token.items() if key != "special"} for token in config["added_tokens"]]
    return {
        "vocabulary": tokenizer.get_vocab(with_added_tokens=True),
        "model (merges, scores)": config["model"],
        "normalizer": config["normalizer"],
        "pre-tokenizer": config["pre_tokenizer"],
        "list of added tokens": added,
    }
