"""What an export starts from: the parameters, weights and tokenizer of a model folder, read and checked once."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from tinylm.base.errors import UserError
from tinylm.model.folder import CONFIG, read_model
from tinylm.model.own_tokenizer import check_vocabulary, load_own_tokenizer
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer
from tinylm.model.weight_files import WEIGHTS, has_weights
from tinylm.model.weight_names import Weights
from tinylm.tokenizer.loading import end_of_text_id

REMEDY = "train one with `make repro`, or name another folder with --model"


@dataclass(frozen=True)
class Source:
    """A model and its tokenizer, whose end-of-text token is named <|endoftext|>."""

    folder: Path
    params: ModelParams
    vocab_size: int  # rows of the embedding; the tokenizer may have fewer entries
    weights: Weights  # float32, under our names; with tied embeddings `head.weight` is `embedding.weight`
    tokenizer: Tokenizer
    end_of_text: int  # id

    @property
    def name(self) -> str:
        """The name of the model: that of its folder."""
        return self.folder.resolve().name

    def model(self) -> Transformer:
        """Return the model in eval mode, in float32 on the CPU."""
        model = Transformer(self.params, self.vocab_size)
        model.load_state_dict(self.weights)
        return model.eval()


def read_source(folder: Path, end_of_text: str | None = None) -> Source:
    """Read a model folder or a checkpoint; `end_of_text` as in `load_own_tokenizer`.

    Raises UserError if a file is missing or damaged, or if the folder holds a model that this code does not compute.
    """
    if not (folder / CONFIG).is_file() or not has_weights(folder):
        raise UserError(f"{folder}: expected a model ({CONFIG}, {WEIGHTS}), got none; {REMEDY}")
    tokenizer = load_own_tokenizer(folder, end_of_text, REMEDY)
    p, vocab_size, weights = read_model(folder)
    check_vocabulary(folder, tokenizer, vocab_size, REMEDY)
    weights = {name: weight.to(torch.float32) for name, weight in weights.items()}
    return Source(folder, p, vocab_size, weights, tokenizer, end_of_text_id(tokenizer))
