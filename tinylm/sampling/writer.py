"""A model that writes for somebody who reads along: a request in, pieces of text out, each as soon as it is known."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from tinylm.base.errors import UserError, shorten
from tinylm.base.reading import check_file
from tinylm.model.folder import CONFIG, WEIGHTS, load_model
from tinylm.model.transformer import Transformer
from tinylm.sampling.generation import stream
from tinylm.sampling.request import WritingRequest
from tinylm.sampling.sampler import Sampling
from tinylm.tokenizer.loading import end_of_text_id, load_tokenizer

RANDOM_SEED_BITS = 32  # of a seed that is drawn: short enough to be typed again
LONGEST_REASON = 160  # characters of what a library says of a broken folder


class Writer:
    """A model and its tokenizer. Stories are those of the stage `generate`: its prompts' n-th ones have number n."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        self.model, self.tokenizer = model, tokenizer
        self.end_of_text = end_of_text_id(tokenizer)

    def begin(self, request: WritingRequest, number: int = 0) -> "Writing":
        """Make ready to write; `number` tells stories of one prompt and seed apart.

        Raises UserError for a prompt that leaves no room.
        """
        prompt = self.tokenizer.encode(request.prompt, add_special_tokens=False).ids
        longest = min(request.max_tokens, self.longest)
        if len(prompt) >= longest:
            raise UserError(
                f"prompt: expected fewer than {longest} tokens (the longest story), got {len(prompt)}; "
                + ("raise max_tokens, or shorten it" if longest < self.longest else "shorten it")
            )
        return Writing(self, prompt, request, number, longest)

    @property
    def longest(self) -> int:
        """Tokens of the longest story: the end-of-text id before it takes a place of the context too."""
        return self.model.params.context - 1


class Writing:
    """A story that is being written. Going over it, once, writes it and gives its text piece by piece.

    Its prompt and its pieces, joined, are what the tokenizer makes of the whole story. A piece holds whole
    characters only, though a token may end within one.
    """

    def __init__(self, writer: Writer, prompt_ids: list[int], request: WritingRequest, number: int, longest: int):
        self.seed = secrets.randbits(RANDOM_SEED_BITS) if request.seed is None else request.seed
        self.longest = longest  # tokens, the prompt's included
        self.prompt: str = writer.tokenizer.decode(prompt_ids)
        self.drawn = 0  # tokens so far, without the prompt's
        self.seconds = 0.0  # from the first to now
        self._writer, self._prompt_ids, self._number = writer, prompt_ids, number
        self._sampling = Sampling(request.temperature, request.top_k, request.top_p, longest, self.seed)

    @property
    def tokens(self) -> int:
        """Tokens so far, the prompt's included."""
        return len(self._prompt_ids) + self.drawn

    @property
    def ended(self) -> bool:
        """Whether a story that is done came to its end by itself, and not to the limit."""
        return self.tokens < self.longest

    @property
    def tokens_per_second(self) -> float:
        return self.drawn / self.seconds if self.seconds else 0.0

    def __iter__(self) -> Iterator[str]:
        tokenizer, ids = self._writer.tokenizer, list(self._prompt_ids)
        decoder = DecodeStream(skip_special_tokens=True)
        text = "".join(decoder.step(tokenizer, token) or "" for token in ids)
        shown = len(self.prompt)
        started = time.perf_counter()
        for token in stream(self._writer.model, ids, self._number, self._sampling, self._writer.end_of_text):
            ids.append(token)
            self.drawn += 1
            self.seconds = time.perf_counter() - started
            text += decoder.step(tokenizer, token) or ""
            if len(text) > shown:
                yield text[shown:]
                shown = len(text)
        if rest := tokenizer.decode(ids)[shown:]:  # bytes that became no character
            yield rest


def open_writer(folder: Path, device: torch.device | str = "cpu") -> Writer:
    """The model of a folder, in float32 as `generate` has it. Raises UserError where the folder holds no such model."""
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder}: expected a model ({CONFIG}, {WEIGHTS}), got none; {REMEDY}")
    check_file(_tokenizer_file(folder), REMEDY)
    try:
        writer = Writer(load_model(folder, torch.float32, device), load_tokenizer(_tokenizer_file(folder)))
    except (UserError, ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as e:
        # A configuration by another hand may be wrong in any way; each ends here, in one line.
        reason = shorten(" ".join(str(e).split()) or type(e).__name__, LONGEST_REASON)
        raise UserError(f"{folder}: no model that can write ({reason}); {REMEDY}") from e
    entries, rows = writer.tokenizer.get_vocab_size(), writer.model.vocab_size
    if entries > rows:
        raise UserError(
            f"{folder}: expected a tokenizer of at most {rows} entries, as the model has, got {entries}; {REMEDY}"
        )
    return writer


def _tokenizer_file(folder: Path) -> Path:
    """A checkpoint (artifacts/checkpoints/step_000250) has none of its own: the one of artifacts/model is its too."""
    own, final = folder / "tokenizer.json", folder.resolve().parent.parent / "model" / "tokenizer.json"
    return final if final.is_file() and not own.is_file() else own


REMEDY = "train one with `make repro`, or name another folder with --model"
