"""Stage download: read stories from their source, clean and split them, and write the two splits of the corpus."""

from pathlib import Path

from tinylm.base import atomic
from tinylm.base.params import Params
from tinylm.base.runtime import RuntimeParams
from tinylm.base.stage import log, original_root, run
from tinylm.download.params import DownloadParams
from tinylm.download.shards import write_shards
from tinylm.download.sources import open_source
from tinylm.download.split import write_corpus
from tinylm.workers.workers import open_workers


def main(params: Params) -> None:
    p = params[DownloadParams]
    folder = Path("artifacts/corpus")
    if p.shard_mb:
        source, counts = write_shards(p, original_root(), folder, open_workers(params[RuntimeParams]))
    else:
        source = open_source(p, original_root())
        counts = write_corpus(source, p, folder)
    metrics = {"source": p.source, "source_used": source.name, **counts, "provenance": source.provenance}
    atomic.write_json("metrics/download.json", metrics)
    train, val = counts["train"], counts["val"]
    log.info(
        "%s: %d training stories (%.1f MB), %d validation stories",
        source.name,
        train["stories"],
        train["bytes"] / 1e6,
        val["stories"],
    )


if __name__ == "__main__":
    run(main)
