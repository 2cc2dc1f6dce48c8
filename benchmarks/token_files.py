"""Token files for the benchmarks that train and evaluate."""

from itertools import islice
from pathlib import Path

from benchmarks.data import write_corpus
from tinylm.base import atomic
from tinylm.download.plain_text import read_txt
from tinylm.download.sample import stories as sample_stories
from tinylm.pretokenize.writing import write_split
from tinylm.tokenizer.loading import end_of_text_id
from tinylm.tokens.description import write_description
from tinylm.tokens.store import TokenStore, open_tokens
from tinylm.train_tokenizer.training import train_bpe

SAMPLE_STORIES = 12_000
HELD_OUT = 25  # every 25th story is held out


def make_tokens(folder: Path, stories: Path | None, vocab_size: int) -> TokenStore:
    """Split stories from a .txt file, or generated ones, train a tokenizer on them and encode them."""
    if stories:
        texts = [story.strip() for story in read_txt(stories, stories.name, "endoftext")]
    else:
        texts = list(islice(sample_stories(SAMPLE_STORIES, 1337), SAMPLE_STORIES))
    held_out = texts[::HELD_OUT]
    parts = {"train": [text for index, text in enumerate(texts) if index % HELD_OUT], "val": held_out}
    tokenizer = train_bpe(parts["train"], vocab_size, 2)
    atomic.write_text(folder / "tokenizer.json", tokenizer.to_str())
    splits = {}
    for name, part in parts.items():
        corpus = write_corpus(folder / f"{name}.parquet", iter(part))
        splits[name] = write_split(folder, name, corpus, tokenizer)[0]
    write_description(folder, folder / "tokenizer.json", tokenizer.get_vocab_size(), end_of_text_id(tokenizer), splits)
    return open_tokens(folder, folder / "tokenizer.json")
