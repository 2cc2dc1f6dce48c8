"""What this machine does: `make bench`. Prints a table; nothing else depends on it."""

import itertools
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from tinylm import atomic
from tinylm.corpus.sample import stories
from tinylm.device import resolve_hardware
from tinylm.model import Transformer
from tinylm.params import read_params
from tinylm.params.model import ModelParams
from tinylm.params.runtime import RuntimeParams
from tinylm.params.train import TrainParams
from tinylm.pretokenizing import write_description, write_split
from tinylm.tokenizer_training import train_bpe
from tinylm.tokens import TokenStore, open_tokens
from tinylm.trainer import Trainer

STORIES, VOCABULARY, REPETITIONS, STEPS = 8000, 2048, 5, 10


def seconds(work: Callable[[], object]) -> float:
    """Median time of several calls."""
    times = []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def bench_data(folder: Path) -> TokenStore:
    texts = list(itertools.islice(stories(STORIES, 1337), STORIES))
    tokenizer = train_bpe(texts, VOCABULARY, 2)
    atomic.write_text(folder / "tokenizer.json", tokenizer.to_str())
    splits = {name: write_split(folder, name, texts, tokenizer)[0] for name in ("train", "val")}
    write_description(folder, folder / "tokenizer.json", tokenizer, splits)
    tokens = splits["train"].tokens
    loop = seconds(lambda: [tokenizer.encode(text).ids for text in texts])
    ours = seconds(lambda: write_split(folder, "train", texts, tokenizer))
    print(f"| pretokenize, loop over encode | {tokens / loop:,.0f} | 1.00 |")
    print(f"| pretokenize, this project | {tokens / ours:,.0f} | {loop / ours:.2f} |")
    return open_tokens(folder, folder / "tokenizer.json")


def bench_training(tokens: TokenStore) -> None:
    """The default model and batch, eager and compiled, in the same process; compilation is not counted."""
    params = read_params()
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

        speed = STEPS * trainer.tokens_per_step / seconds(steps)
        base = base or speed
        print(f"| training step, {name}, {hardware.precision} | {speed:,.0f} | {speed / base:.2f} |")


def main() -> None:
    print(f"{platform.machine()}, torch {torch.__version__}, median of {REPETITIONS}\n")
    print("| what | tokens/s | ratio |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bench_training(bench_data(Path(folder)))


if __name__ == "__main__":
    main()
