"""Stage train_tokenizer: train a tokenizer on the training stories, or take an existing one."""

from pathlib import Path

from tinylm.base import atomic
from tinylm.base.params import Params
from tinylm.base.runtime import RuntimeParams
from tinylm.base.stage import log, original_root, run
from tinylm.train_tokenizer.params import TrainTokenizerParams
from tinylm.train_tokenizer.training import make_tokenizer
from tinylm.workers.workers import open_workers


def main(params: Params) -> None:
    p = params[TrainTokenizerParams]
    workers = open_workers(params[RuntimeParams])
    tokenizer = make_tokenizer(p, Path("artifacts/corpus/train.parquet"), original_root(), workers)
    atomic.write_text("artifacts/tokenizer/tokenizer.json", tokenizer.to_str(pretty=True))
    vocab_size = tokenizer.get_vocab_size()
    atomic.write_json("metrics/train_tokenizer.json", {"kind": p.kind, "vocab_size": vocab_size})
    log.info("%s tokenizer with %d entries", p.kind, vocab_size)


if __name__ == "__main__":
    run(main)
