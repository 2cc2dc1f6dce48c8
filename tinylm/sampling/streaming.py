"""Streaming generation: takes a request and yields pieces of text as soon as they are complete."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from tinylm.base.errors import UserError, shorten
from tinylm.model.folder import CONFIG, load_model
from tinylm.model.inference import for_inference
from tinylm.model.own_tokenizer import check_vocabulary, load_own_tokenizer
from tinylm.model.transformer import Transformer
from tinylm.model.weight_files import WEIGHTS, has_weights
from tinylm.sampling.generation import CompiledStep, stream
from tinylm.sampling.request import GenerationRequest
from tinylm.sampling.sampler import Sampling
from tinylm.tokenizer.loading import end_of_text_id

RANDOM_SEED_BITS = 32  # of a random seed; short enough to type again
LONGEST_REASON = 160  # characters shown of a library's error message


class TextGenerator:
    """A model with its tokenizer.

    Story number n equals the n-th story that the stage `generate` gives for its first prompt, with equal settings.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        self.model, self.tokenizer = model, tokenizer
        self.end_of_text = end_of_text_id(tokenizer)
        self.step: CompiledStep | None = None

    def compile(self) -> None:
        """Compile the model for all further stories, which takes about half a minute."""
        self.step = CompiledStep(self.model)
        self.step.warm_up()

    def stream(self, request: GenerationRequest, number: int = 0) -> "StoryStream":
        """Prepare a story; generation starts when it is iterated. Stories of one prompt and seed differ by `number`.

        Raises UserError if the prompt leaves no room for another token.
        """
        prompt = self.tokenizer.encode(request.prompt, add_special_tokens=False).ids
        longest = min(request.max_tokens, self.longest)
        if len(prompt) >= longest:
            raise UserError(
                f"prompt: expected fewer than {longest} tokens (the longest story), got {len(prompt)}; "
                + ("raise max_tokens, or shorten it" if longest < self.longest else "shorten it")
            )
        return StoryStream(self, prompt, request, number, longest)

    @property
    def longest(self) -> int:
        """Length of the longest story [tokens]: the context, less the end-of-text token before the story."""
        return self.model.params.context - 1


class StoryStream:
    """A story that is generated while it is iterated over, once; yields its text piece by piece.

    The prompt and the pieces, joined, are the decoded text of the whole story. A piece has only complete
    characters, although a token may end inside one.
    """

    def __init__(
        self, generator: TextGenerator, prompt_ids: list[int], request: GenerationRequest, number: int, longest: int
    ):
        self.seed = secrets.randbits(RANDOM_SEED_BITS) if request.seed is None else request.seed
        self.longest = longest  # tokens, prompt included
        self.prompt: str = generator.tokenizer.decode(prompt_ids)
        self.drawn = 0  # tokens generated so far
        self.seconds = 0.0  # since generation started
        self._generator, self._prompt_ids, self._number = generator, prompt_ids, number
        self._sampling = Sampling(request.temperature, request.top_k, request.top_p, longest, self.seed)

    @property
    def tokens(self) -> int:
        """Tokens so far, prompt included."""
        return len(self._prompt_ids) + self.drawn

    @property
    def ended(self) -> bool:
        """Whether a finished story reached end-of-text, and not the limit."""
        return self.tokens < self.longest

    @property
    def tokens_per_second(self) -> float:
        return self.drawn / self.seconds if self.seconds else 0.0

    def __iter__(self) -> Iterator[str]:
        tokenizer, ids = self._generator.tokenizer, list(self._prompt_ids)
        decoder = DecodeStream(skip_special_tokens=True)
        text = "".join(decoder.step(tokenizer, token) or "" for token in ids)
        shown = len(self.prompt)
        started = time.perf_counter()
        generator = self._generator
        for token in stream(generator.model, ids, self._number, self._sampling, generator.end_of_text, generator.step):
            ids.append(token)
            self.drawn += 1
            self.seconds = time.perf_counter() - started
            text += decoder.step(tokenizer, token) or ""
            if len(text) > shown:
                yield text[shown:]
                shown = len(text)
        if rest := tokenizer.decode(ids)[shown:]:  # bytes that never completed a character
            yield rest


def open_generator(
    folder: Path, device: torch.device | str = "cpu", compiled: bool = False, end_of_text: str | None = None
) -> TextGenerator:
    """Load the model of a folder, in float32 like the stage `generate`; `end_of_text` as in `load_own_tokenizer`.

    Raises UserError if this fails.
    """
    if not (folder / CONFIG).is_file() or not has_weights(folder):
        raise UserError(f"{folder}: expected a model ({CONFIG}, {WEIGHTS}), got none; {REMEDY}")
    tokenizer = load_own_tokenizer(folder, end_of_text, REMEDY)
    try:
        model = load_model(folder, torch.float32, device)
    except (UserError, ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as e:
        # A config from elsewhere may be invalid in any way; report each as one line.
        reason = shorten(" ".join(str(e).split()) or type(e).__name__, LONGEST_REASON)
        raise UserError(f"{folder}: cannot load the model ({reason}); {REMEDY}") from e
    check_vocabulary(folder, tokenizer, model.vocab_size, REMEDY)
    generator = TextGenerator(model, tokenizer)
    if compiled:
        generator.compile()
    else:
        for_inference(model, together=False)
    return generator


REMEDY = "train one with `make repro`, or name another folder with --model"
