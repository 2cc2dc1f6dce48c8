"""Stage pretokenize: encode the corpus with the tokenizer and write the token store."""

from pathlib import Path

from tinylm.base import atomic
from tinylm.base.params import Params
from tinylm.base.runtime import RuntimeParams
from tinylm.base.stage import log, run
from tinylm.pretokenize.params import PretokenizeParams
from tinylm.pretokenize.writing import write_split
from tinylm.tokenizer.loading import end_of_text_id, load_tokenizer
from tinylm.tokens.description import write_description
from tinylm.workers.workers import open_workers


def main(params: Params) -> None:
    p = params[PretokenizeParams]
    workers = open_workers(params[RuntimeParams])
    folder, tokenizer_file = Path("artifacts/tokens"), Path("artifacts/tokenizer/tokenizer.json")
    tokenizer = load_tokenizer(tokenizer_file)
    splits, metrics = {}, {}
    for name, max_tokens in (("train", p.max_tokens), ("val", None)):
        corpus = Path(f"artifacts/corpus/{name}.parquet")
        info, omitted = write_split(folder, name, corpus, tokenizer, workers, max_tokens, p.lossy)
        splits[name] = info
        metrics[name] = {
            "tokens": info.tokens,
            "stories": info.stories,
            "text_bytes": info.text_bytes,
            "bytes_per_token": info.text_bytes / info.tokens,
            "lossless": info.lossless,
            "stories_left": omitted.stories_left,
            "text_bytes_left": omitted.text_bytes_left,
        }
        log.info("%s: %d stories, %d tokens", name, info.stories, info.tokens)
        if not info.lossless:
            log.warning("warning: the tokenizer is lossy on the %s stories: bits per byte will be null", name)
    write_description(folder, tokenizer_file, tokenizer.get_vocab_size(), end_of_text_id(tokenizer), splits)
    atomic.write_json("metrics/pretokenize.json", metrics)


if __name__ == "__main__":
    run(main)
