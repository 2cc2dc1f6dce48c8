"""Training steps: the default model and batch, eager and compiled."""

import argparse
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from benchmarks.data import write_corpus
from benchmarks.measure import ROOT, seconds
from benchmarks.report import Row, write
from tinylm import atomic
from tinylm.corpus.sample import stories
from tinylm.device import resolve_hardware
from tinylm.model import Transformer
from tinylm.params import read_params
from tinylm.params.model import ModelParams
from tinylm.params.runtime import RuntimeParams
from tinylm.params.train import TrainParams
from tinylm.params.train_tokenizer import TrainTokenizerParams
from tinylm.pretokenizing import write_description, write_split
from tinylm.tokenizer_training import train_bpe
from tinylm.tokens import TokenStore, open_tokens
from tinylm.trainer import Trainer

TITLE = "Training"
STORIES, REPETITIONS, STEPS = 8000, 5, 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None yet."""


def bench(_: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write("training", TITLE, list(compare_steps(make_tokens(Path(folder)))))


def make_tokens(folder: Path) -> TokenStore:
    texts = list(islice(stories(STORIES, 1337), STORIES))
    corpus = write_corpus(folder / "corpus.parquet", iter(texts))
    tokenizer = train_bpe(texts, read_params(ROOT / "params.yaml")[TrainTokenizerParams].vocab_size, 2)
    atomic.write_text(folder / "tokenizer.json", tokenizer.to_str())
    splits = {name: write_split(folder, name, corpus, tokenizer)[0] for name in ("train", "val")}
    write_description(folder, folder / "tokenizer.json", tokenizer, splits)
    return open_tokens(folder, folder / "tokenizer.json")


def compare_steps(tokens: TokenStore) -> Iterator[Row]:
    """In one process; compilation is not counted."""
    params = read_params(ROOT / "params.yaml")
    p, hardware = params[TrainParams], resolve_hardware(params[RuntimeParams])
    base = 0.0
    for name, compiled in (("eager", False), ("compiled", True)):
        model = Transformer(params[ModelParams], tokens.vocab_size, hardware.dtype)
        model.initialize(torch.Generator().manual_seed(p.seed))
        trainer = Trainer(model.train(), p, tokens, hardware, compiled)
        trainer.train_step(0)  # compiles

        def steps(trainer: Trainer = trainer) -> None:
            for step in range(STEPS):
                loss, _ = trainer.train_step(step)
            loss.item()  # waits for a GPU

        speed = STEPS * trainer.tokens_per_step / seconds(steps, REPETITIONS)
        base = base or speed
        milliseconds = trainer.tokens_per_step / speed * 1e3
        note = f"{milliseconds:.0f} ms a step, {hardware.precision}"
        yield Row(f"training step, {name}", speed, "tokens/s", speed / base, note)
