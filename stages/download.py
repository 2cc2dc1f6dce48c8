"""Stage download: stories from their source, cleaned and split, to the two files of the corpus."""

from pathlib import Path

from tinylm import atomic
from tinylm.corpus.sources import open_source
from tinylm.corpus.split import write_corpus
from tinylm.params import Params
from tinylm.params.download import DownloadParams
from tinylm.stage import log, original_root, run


def main(params: Params) -> None:
    p = params[DownloadParams]
    source = open_source(p, original_root())
    counts = write_corpus(source, p, Path("artifacts/corpus"))
    metrics = {"source": p.source, "source_used": source.name, **counts, "provenance": source.provenance}
    atomic.write_json("metrics/download.json", metrics)
    train, val = counts["train"], counts["val"]
    log.info(
        "%s: %d stories to train on (%.1f MB), %d to validate on",
        source.name,
        train["stories"],
        train["bytes"] / 1e6,
        val["stories"],
    )


if __name__ == "__main__":
    run(main)
