"""Make the tokenizer: byte-level BPE trained on the corpus, GPT-2's, or one from a file.

Byte-level BPE (Radford et al. 2019, GPT-2) starts from one symbol per byte, so that any text can be encoded, and
decoding restores it byte for byte.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tinylm.base.errors import UserError
from tinylm.tokenizer.end_of_text import with_end_of_text
from tinylm.tokenizer.loading import END_OF_TEXT, load_tokenizer
from tinylm.train_tokenizer.bpe import learn_merges
from tinylm.train_tokenizer.counting import count_words, count_words_of
from tinylm.train_tokenizer.params import TrainTokenizerParams
from tinylm.workers.workers import Workers

# GPT-2's tokenizer on the Hugging Face Hub, pinned to the latest commit.
GPT2_REPOSITORY, GPT2_REVISION = "openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e"


def make_tokenizer(params: TrainTokenizerParams, corpus: Path, root: Path, workers: Workers) -> Tokenizer:
    """Return the tokenizer that `params` specify; paths are relative to `root`, and only `bpe` reads `corpus`."""
    match params.kind:
        case "bpe":
            return bpe_tokenizer(count_words(corpus, workers), params.vocab_size, params.min_frequency)
        case "gpt2":
            return with_end_of_text(load_tokenizer(_download_gpt2()))
        case "file":
            assert params.path is not None
            return with_end_of_text(load_tokenizer(root / params.path), params.end_of_text)


def train_bpe(stories: Iterable[str], vocab_size: int, min_frequency: int) -> Tokenizer:
    """Train byte-level BPE on stories in memory. Raises UserError as `bpe_tokenizer` does."""
    return bpe_tokenizer(count_words_of(stories), vocab_size, min_frequency)


def bpe_tokenizer(words: Mapping[bytes, int], vocab_size: int, min_frequency: int) -> Tokenizer:
    """Train byte-level BPE on words with their counts.

    Raises UserError if they have too few frequent pairs for `vocab_size`.
    """
    vocabulary, merges = learn_merges(words, vocab_size, min_frequency, [END_OF_TEXT])
    if len(vocabulary) < vocab_size:
        raise UserError(
            f"train_tokenizer.vocab_size: expected at most {len(vocabulary)}, which is what this corpus supports "
            f"(pairs that occur {min_frequency} times or more), got {vocab_size}; lower it or use more text"
        )
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def _download_gpt2() -> Path:
    """Return GPT-2's tokenizer.json in the Hub's cache, downloaded if necessary."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(GPT2_REPOSITORY, "tokenizer.json", revision=GPT2_REVISION))
    except Exception as error:  # of many types: no network, a proxy's error page, offline mode with an empty cache
        raise UserError(
            f"train_tokenizer.kind: gpt2 needs tokenizer.json of {GPT2_REPOSITORY}, but the Hub cannot be reached "
            f"({type(error).__name__}); connect, copy the Hub cache from another machine, "
            "or use kind: file with the path of a downloaded tokenizer.json"
        ) from error
