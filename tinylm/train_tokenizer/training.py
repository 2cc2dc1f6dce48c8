"""Make the tokenizer: byte-level BPE trained on the corpus, GPT-2's, or one from a file.

Byte-level BPE (Radford et al. 2019, GPT-2) starts from one symbol per byte, so that any text can be encoded, and
decoding restores it byte for byte.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tinylm.base.errors import UserError
from tinylm.tokenizer.loading import END_OF_TEXT, load_tokenizer
from tinylm.train_tokenizer.params import TrainTokenizerParams

# GPT-2's tokenizer on the Hugging Face Hub, pinned to the latest commit.
GPT2_REPOSITORY, GPT2_REVISION = "openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e"

LONG_STORY = 10_000  # characters; no word in a shorter story slows the trainer down
LONGEST_WORD = 1_000  # characters
LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD}}}|\s{{{LONGEST_WORD}}}")


def make_tokenizer(params: TrainTokenizerParams, stories: Iterable[str], root: Path) -> Tokenizer:
    """Return the tokenizer that `params` specify; `stories` are read only for `bpe`; paths are relative to `root`."""
    match params.kind:
        case "bpe":
            return train_bpe(stories, params.vocab_size, params.min_frequency)
        case "gpt2":
            return with_end_of_text(load_tokenizer(_download_gpt2()))
        case "file":
            assert params.path is not None
            return with_end_of_text(load_tokenizer(root / params.path))


def train_bpe(stories: Iterable[str], vocab_size: int, min_frequency: int) -> Tokenizer:
    """Train byte-level BPE. Raises UserError if the stories have too few frequent pairs for `vocab_size`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(cut_long_words(stories), trainer)
    got = tokenizer.get_vocab_size()
    if got < vocab_size:
        raise UserError(
            f"train_tokenizer.vocab_size: expected at most {got}, which is what this corpus supports "
            f"(pairs that occur {min_frequency} times or more), got {vocab_size}; lower it or use more text"
        )
    return tokenizer


def cut_long_words(stories: Iterable[str]) -> Iterator[str]:
    """Yield the stories, split wherever a word reaches `LONGEST_WORD` characters.

    The trainer's time grows with the square of the word length: one megabyte without spaces took hours.
    Only long stories are searched, since searching short ones would take longer than training on them.
    """
    for story in stories:
        start = 0
        if len(story) > LONG_STORY:
            for word in LONG_WORD.finditer(story):
                yield story[start : word.end()]
                start = word.end()
        yield story[start:]


def with_end_of_text(tokenizer: Tokenizer) -> Tokenizer:
    """Add the special token <|endoftext|> if it is missing; disable padding, truncation and post-processing.

    A post-processor would add tokens such as [CLS], which are not part of the text.
    """
    tokenizer.add_special_tokens([END_OF_TEXT])
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.post_processor = None
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
