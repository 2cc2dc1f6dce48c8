"""What a parameter file asks training to do: sizes, tokens, steps, and the text there is."""

import math
from dataclasses import dataclass
from pathlib import Path

from tinylm.base.errors import UserError
from tinylm.base.params import Params
from tinylm.base.runtime import RuntimeParams
from tinylm.download.params import DownloadParams
from tinylm.model.params import ModelParams
from tinylm.model.transformer import training_flop_per_token
from tinylm.planning.random_tokens import TOKENS_PER_STORY, empty_split
from tinylm.planning.sizes import Parameters, count_parameters
from tinylm.pretokenize.params import PretokenizeParams
from tinylm.tokenizer.loading import load_tokenizer
from tinylm.train.params import TrainParams
from tinylm.train.step import count_steps, make_sequences
from tinylm.train_tokenizer.params import TrainTokenizerParams

GPT2_ENTRIES = 50_257
TINYSTORIES = 2_119_719  # training stories of TinyStories, version 1
SAMPLE_TOKENS = 200  # of a story of the generator, with 2,048 entries
BYTES_PER_TOKEN = 4  # of English with a vocabulary of thousands
WINDOWS_OVERLAP = 2  # half of each window is context, which another one scores
PARQUET_SHRINKS = 2  # text is about twice as long as a Parquet file of it


@dataclass(frozen=True)
class Workload:
    """The training of one parameter file."""

    model: ModelParams
    train: TrainParams
    runtime: RuntimeParams
    vocab_size: int
    size: Parameters
    text_tokens: int  # training tokens that the source has, estimated
    steps: int

    @property
    def tokens_per_step(self) -> int:
        return self.train.batch_size * self.model.context

    @property
    def tokens(self) -> int:
        """Training tokens, repeated ones counted again."""
        return self.steps * self.tokens_per_step

    @property
    def flop_per_token(self) -> int:
        return training_flop_per_token(self.model, self.size.total)

    @property
    def flop(self) -> float:
        return float(self.flop_per_token) * self.tokens

    @property
    def times_seen(self) -> float:
        """How often each token of the text is trained on."""
        return self.tokens / self.text_tokens

    @property
    def validation_tokens(self) -> int:
        """Tokens in the windows of all validations; none are counted for the whole split (`val_stories: null`)."""
        validations = 1 + math.ceil(self.steps / self.train.val_every)
        return validations * (self.train.val_stories or 0) * TOKENS_PER_STORY * WINDOWS_OVERLAP


def share_of(run: Workload, devices: int) -> int:
    """Return the sequences of a batch for one of several devices. Raises UserError if they cannot share equally."""
    batch = run.train.batch_size
    if batch % devices:
        raise UserError(f"train.batch_size: expected a multiple of the {devices} devices, got {batch}")
    return batch // devices


def sequences_of(run: Workload, devices: int) -> int:
    """Return the sequences that are in the memory of a device at once; raises as `share_of` does."""
    share = share_of(run, devices)
    sequences = min(share, run.train.micro_batch_size or share)
    if share % sequences:
        raise UserError(
            f"train.micro_batch_size: expected a divisor of the {share} sequences of a device, got {sequences}"
        )
    return sequences


def workload_of(
    params: Params, vocab_size: int | None = None, text_tokens: int | None = None, steps: int | None = None
) -> Workload:
    """Return the training that `params` describe; the other arguments are known for a run that has ended.

    Raises UserError if a file that the parameters name is missing.
    """
    p, model = params[TrainParams], params[ModelParams]
    vocab_size = vocab_size or estimate_vocab_size(params[TrainTokenizerParams])
    text = text_tokens or estimate_text_tokens(params)
    steps = steps or p.steps or count_steps(p, make_sequences(p, empty_split(text), model.context))
    return Workload(model, p, params[RuntimeParams], vocab_size, count_parameters(model, vocab_size), text, steps)


def estimate_vocab_size(p: TrainTokenizerParams) -> int:
    """Return the entries of the tokenizer; of one that is to be trained, as many as are asked for."""
    if p.kind == "gpt2":
        return GPT2_ENTRIES
    if p.kind == "file" and p.path:
        return load_tokenizer(Path(p.path)).get_vocab_size()
    return p.vocab_size


def estimate_text_tokens(params: Params) -> int:
    """Return about how many training tokens the source has."""
    p, most = params[DownloadParams], params[PretokenizeParams].max_tokens
    if p.source == "files":
        size = sum(
            Path(name).stat().st_size * (PARQUET_SHRINKS if name.endswith(".parquet") else 1) for name in p.paths
        )
        tokens = size // BYTES_PER_TOKEN
    else:
        stories, each = (p.sample_stories, SAMPLE_TOKENS) if p.source == "sample" else (TINYSTORIES, TOKENS_PER_STORY)
        tokens = min(stories, p.max_stories or stories) * each
    if not (p.source == "tinystories" or p.val_paths):
        tokens = round(tokens * (1 - p.val_fraction))
    return max(2 * params[ModelParams].context, min(tokens, most or tokens))
