"""Where the tokenizer comes from: byte-level BPE trained here, GPT-2's, or a file.

Byte-level BPE (Radford et al. 2019, GPT-2) maps every byte to a symbol first, so that any text has
ids and comes back byte for byte.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tinylm.base.errors import UserError
from tinylm.tokenizer.loading import END_OF_TEXT, load_tokenizer
from tinylm.train_tokenizer.params import TrainTokenizerParams

# The tokenizer files of GPT-2 on the Hugging Face Hub, at the commit that is its last.
GPT2_REPOSITORY, GPT2_REVISION = "openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e"

LONG_STORY = 10_000  # characters; shorter ones have no word that takes the trainer long
LONGEST_WORD = 1_000  # characters
LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD}}}|\s{{{LONGEST_WORD}}}")


def make_tokenizer(params: TrainTokenizerParams, stories: Iterable[str], root: Path) -> Tokenizer:
    """The tokenizer that `params` ask for; `stories` are read only to train one; paths are relative to `root`."""
    match params.kind:
        case "bpe":
            return train_bpe(stories, params.vocab_size, params.min_frequency)
        case "gpt2":
            return with_end_of_text(load_tokenizer(_download_gpt2()))
        case "file":
            assert params.path is not None
            return with_end_of_text(load_tokenizer(root / params.path))


def train_bpe(stories: Iterable[str], vocab_size: int, min_frequency: int) -> Tokenizer:
    """Train byte-level BPE. Raises UserError when the stories do not hold enough pairs for `vocab_size`."""
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
            f"(pairs that occur {min_frequency} times or more), got {vocab_size}; lower it or bring more text"
        )
    return tokenizer


def cut_long_words(stories: Iterable[str]) -> Iterator[str]:
    """The stories, those with words of more than `LONGEST_WORD` characters in parts.

    A merge takes the trainer time with the square of a word's length: a megabyte without a space kept it for hours.
    Only long stories are looked at, since the look takes longer than the training of short ones.
    """
    for story in stories:
        start = 0
        if len(story) > LONG_STORY:
            for word in LONG_WORD.finditer(story):
                yield story[start : word.end()]
                start = word.end()
        yield story[start:]


def with_end_of_text(tokenizer: Tokenizer) -> Tokenizer:
    """Add <|endoftext|> as a special token where it is missing; switch off padding, truncation and additions.

    A post-processor would add tokens (such as [CLS]) to every story, which are not the story's.
    """
    tokenizer.add_special_tokens([END_OF_TEXT])
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.post_processor = None
    return tokenizer


def _download_gpt2() -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(GPT2_REPOSITORY, "tokenizer.json", revision=GPT2_REVISION))
    except Exception as error:  # many kinds: no network, a proxy's answer, offline mode with an empty cache
        raise UserError(
            f"train_tokenizer.kind: gpt2 needs tokenizer.json of {GPT2_REPOSITORY} and the Hub cannot be reached "
            f"({type(error).__name__}); connect, or fill the Hub cache on another machine, "
            "or put the file somewhere and use kind: file with its path"
        ) from error
