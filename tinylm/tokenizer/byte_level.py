"""Whether a tokenizer is of GPT-2's kind, which other programs implement: byte-level BPE within GPT-2's pre-tokens."""

import json
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer

from tinylm.base.errors import quote
from tinylm.tokenizer.pre_tokens import BYTE_SYMBOLS


def unlike_gpt2(tokenizer: Tokenizer) -> str | None:
    """Return what a tokenizer has that GPT-2's kind has not, in a few words; None if it is of that kind.

    Vocabulary and merges then determine the ids of a text: each byte is a symbol, and symbols merge by rank within the
    pre-tokens of GPT-2's pattern (Radford et al. 2019). `train_tokenizer` makes such tokenizers.
    """
    return next(_differences(json.loads(tokenizer.to_str()), tokenizer.get_vocab()), None)


def _differences(config: dict[str, Any], vocabulary: dict[str, int]) -> Iterator[str]:
    model, normalizer, pre_tokenizer = config["model"], config["normalizer"], config["pre_tokenizer"] or {}
    if model["type"] != "BPE":
        yield f"a model of the type {model['type']}"
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        if model.get(option):
            yield f"BPE with {option}"
    if normalizer is not None:
        yield f"a normalizer ({normalizer['type']})"
    gpt2s = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    if gpt2s.items() - pre_tokenizer.items():
        yield f"another pre-tokenizer ({quote(pre_tokenizer)})"
    if (config["decoder"] or {}).get("type") != "ByteLevel":
        yield f"another decoder ({quote(config['decoder'])})"
    if missing := sum(symbol not in vocabulary for symbol in BYTE_SYMBOLS):
        yield f"a vocabulary without {missing} of the 256 bytes"
    for token in config["added_tokens"]:
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            yield f"an added token that depends on the text around it ({quote(token['content'])})"
