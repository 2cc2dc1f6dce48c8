"""Score a model folder, ours or from elsewhere, on the held-out stories, as the stage evaluate scores the run's model.

The stories are encoded with the folder's own tokenizer, and windows have the length of the model's own context. Bits
per byte compare with those of any other model that was scored on the same stories. No output of a stage changes.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tinylm.base.cores import usable_cores
from tinylm.base.errors import UserError, quote_path
from tinylm.base.params import Params
from tinylm.base.reading import check_file
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import resolve_hardware
from tinylm.compute.memory import explaining_out_of_memory
from tinylm.corpus.storage import shards
from tinylm.evaluate.outputs import StoryScores, classify, score_stories, summarize
from tinylm.evaluate.params import EvaluateParams
from tinylm.evaluate.score import score_split
from tinylm.model.folder import CONFIG, load_model
from tinylm.model.own_tokenizer import check_vocabulary, load_own_tokenizer
from tinylm.model.transformer import Transformer
from tinylm.pretokenize.writing import write_split
from tinylm.scoring.windows import default_stride
from tinylm.tokenizer.loading import end_of_text_id
from tinylm.tokens.description import SplitInfo, id_type
from tinylm.tokens.store import open_split
from tinylm.workers.processes import LocalWorkers

STORIES = Path("artifacts/corpus/val.parquet")  # the held-out stories
REMEDY = "use a folder whose tokenizer and weights belong together"


@dataclass(frozen=True)
class FolderScore:
    """The score of a model folder."""

    stories: StoryScores
    metrics: dict[str, Any]  # as in metrics/evaluate.json
    parameters: int
    context: int  # [tokens]
    entries: int  # of the tokenizer


def score_folder(folder: Path, params: Params, end_of_text: str | None = None) -> FolderScore:
    """Score the model of a folder; `end_of_text` as in `load_own_tokenizer`.

    Raises UserError if the folder is not a model that this code computes, if its tokenizer is lossy, or if there are
    no held-out stories.
    """
    p, runtime = params[EvaluateParams], params[RuntimeParams]
    if not (folder / CONFIG).is_file():
        raise UserError(f"{quote_path(folder)}: expected a model folder with {CONFIG}, got none; check the path")
    check_file(shards(STORIES)[0], "run dvc repro download, or dvc pull on a new machine")
    tokenizer = load_own_tokenizer(folder, end_of_text)
    hardware = resolve_hardware(runtime, p.precision)
    model = load_model(folder, hardware.dtype, hardware.device)
    check_vocabulary(folder, tokenizer, model.vocab_size, REMEDY)
    # Windows removes no file that is memory-mapped: after an error, the traceback still holds the maps.
    with tempfile.TemporaryDirectory(prefix="tinylm-", ignore_cleanup_errors=True) as temporary:
        workers = LocalWorkers(runtime.workers or usable_cores())
        info, _ = write_split(Path(temporary), "val", STORIES, tokenizer, workers, lossy=True)
        if not info.lossless:
            raise UserError(
                f"{quote_path(folder)}: its tokenizer is lossy (decoding does not restore every story), so that bits "
                "per byte are undefined; use a model with another tokenizer"
            )
        with explaining_out_of_memory(hardware.device, f"lower evaluate.batch_size ({p.batch_size})"):
            stories, metrics = _score(Path(temporary), info, model, tokenizer, p, runtime.progress)
    size = model.size().parameters
    return FolderScore(stories, metrics, size, model.params.context, tokenizer.get_vocab_size())


def _score(
    tokens: Path, info: SplitInfo, model: Transformer, tokenizer: Tokenizer, p: EvaluateParams, progress: bool
) -> tuple[StoryScores, dict[str, Any]]:
    """Score the split in the folder `tokens`, which is mapped until this returns."""
    split = open_split(tokens, "val", id_type(tokenizer.get_vocab_size()), info)
    stride = p.stride or default_stride(model.params.context)
    score = score_split(model, split, end_of_text_id(tokenizer), stride, p.batch_size, progress)
    stories = score_stories(score, split)
    return stories, summarize(score, stories, classify(split.tokens, tokenizer))
