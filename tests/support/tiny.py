"""A corpus, parameters and models small enough for a test."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from tinylm.base import atomic
from tinylm.base.params import read_params
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import Hardware
from tinylm.corpus.storage import place_split, writing_stories
from tinylm.download.params import DownloadParams
from tinylm.model.folder import save_tokenizer, save_weights
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer
from tinylm.pretokenize.writing import write_split
from tinylm.scoring.story_losses import StoryLosses
from tinylm.tokenizer.loading import end_of_text_id, load_tokenizer
from tinylm.tokens.description import write_description
from tinylm.train.params import TrainParams
from tinylm.train_tokenizer.training import train_bpe

ROOT = Path(__file__).parent.parent.parent
PARAMS = read_params(ROOT / "params.yaml")
FP32_ON_CPU = Hardware(torch.device("cpu"), "fp32", 1)

NAMES = ("Tom", "Ann", "Lily", "Ben", "Max", "Sue", "Zoe", "Sam")
THINGS = ("ball", "kite", "cake", "boat", "book", "drum", "hat", "leaf")
PLACES = ("park", "garden", "house", "forest", "lake", "school", "farm", "town")


def stories(count: int) -> list[str]:
    """Return `count` different short stories; at most 512 are different."""
    made = []
    for n in range(count):
        name, thing, place = NAMES[n % 8], THINGS[n // 8 % 8], PLACES[n // 64 % 8]
        made.append(
            f"Once upon a time, {name} lost a {thing} in the {place}. {name} was sad.\n"
            f'"I will help you find the {thing}," said a friend. They looked in the {place} and found it. '
            f"{name} was happy and played with the {thing} all day."
        )
    return made


def write_corpus(path: Path, texts: Iterable[str], stories_per_row_group: int | None = None) -> Path:
    with writing_stories(path) as writer:
        for number, text in enumerate(texts, start=1):
            writer.write(text.encode())
            if stories_per_row_group and number % stories_per_row_group == 0:
                writer.flush()
    return path


def write_corpus_in_shards(path: Path, texts: Sequence[str], shards: int, **options: Any) -> Path:
    """Write stories into shards of about as many each."""
    starts = [len(texts) * index // shards for index in range(shards + 1)]
    files = [
        write_corpus(path.with_name(f"part-{index}"), texts[start:stop], **options)
        for index, (start, stop) in enumerate(pairwise(starts))
    ]
    place_split(path, files)
    return path


def write_store(
    folder: Path,
    vocab_size: int = 300,
    train_stories: int = 256,
    val_stories: int = 32,
    tokenizer: Tokenizer | None = None,
    shards: int = 1,
) -> None:
    """Write `tokenizer.json` and `tokens/`, the latter in `shards`.

    Training uses the first stories, validation the last.
    """
    train, val = stories(train_stories), stories(512)[-val_stories:]
    tokenizer = tokenizer or train_bpe(train, vocab_size, 2)
    atomic.write_text(folder / "tokenizer.json", tokenizer.to_str())
    splits = {}
    for name, texts in (("train", train), ("val", val)):
        corpus = write_corpus_in_shards(folder / f"{name}.parquet", texts, shards)
        splits[name], _ = write_split(folder / "tokens", name, corpus, tokenizer)
    write_description(
        folder / "tokens", folder / "tokenizer.json", tokenizer.get_vocab_size(), end_of_text_id(tokenizer), splits
    )


def write_model(folder: Path, tokenizer_file: Path, context: int = 256, **changes: Any) -> None:
    """Write the folder of an untrained model; the tokenizer may have at most 300 entries."""
    model, tokenizer = make_model(300, spread=0.1, context=context, **changes), load_tokenizer(tokenizer_file)
    end_of_text = end_of_text_id(tokenizer)
    save_weights(folder, model.state_dict(), model.params, 300, end_of_text)
    save_tokenizer(folder, tokenizer_file, end_of_text, context)


def download_params(**changes: Any) -> DownloadParams:
    return DownloadParams(**PARAMS[DownloadParams].model_dump() | changes)


def model_params(**changes: Any) -> ModelParams:
    tiny = {"layers": 2, "heads": 2, "width": 32, "mlp_width": 64, "context": 64}
    return ModelParams(**PARAMS[ModelParams].model_dump() | tiny | changes)


def train_params(**changes: Any) -> TrainParams:
    tiny = {"steps": 12, "batch_size": 8, "warmup_steps": 2, "log_every": 4, "val_every": 6, "val_stories": 8}
    tiny |= {"checkpoint_every": 6, "precision": "fp32", "resume_every": None, "deterministic": False}
    return TrainParams(**PARAMS[TrainParams].model_dump() | tiny | changes)


def runtime_params(**changes: Any) -> RuntimeParams:
    quiet = {"device": "cpu", "threads": 1, "compile": False, "progress": False, "sample_every": None}
    return RuntimeParams(**PARAMS[RuntimeParams].model_dump() | quiet | changes)


def validation(loss: float) -> StoryLosses:
    """Return the losses of one story of ten tokens with four bytes each; `loss` in nats per token."""
    return StoryLosses(np.array([10 * loss]), np.array([10]), np.array([40]))


def make_model(vocab_size: int = 300, seed: int = 0, spread: float = 0.0, **changes: Any) -> Transformer:
    """Return a model with random weights; `spread` makes its predictions less uniform."""
    model = Transformer(model_params(**changes), vocab_size)
    generator = torch.Generator().manual_seed(seed)
    model.initialize(generator)
    with torch.no_grad():
        for weight in model.parameters():
            weight += spread * torch.randn(weight.shape, generator=generator)
    return model.eval()


def fake_cuda(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """Make torch report one GPU of this compute capability."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
