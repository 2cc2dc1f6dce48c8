"""The probability of each token of a story, and its most likely alternatives."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from tinylm.generate.stories import Story
from tinylm.model.transformer import Transformer
from tinylm.tokenizer.loading import end_of_text_id

ALTERNATIVES = 5


@dataclass(frozen=True)
class ScoredToken:
    """A token of a story; the fields are keys of probabilities.json."""

    text: str  # empty if the token only starts a character
    probability: float  # at temperature 1, given the tokens before it
    alternatives: list[tuple[str, float]]  # the most likely tokens at this position, with their probabilities


@torch.inference_mode()
def score_tokens(model: Transformer, tokenizer: Tokenizer, story: Story) -> list[ScoredToken]:
    """Return the tokens of the story, up to the length of the context, with probabilities rounded to 4 digits."""
    end = end_of_text_id(tokenizer)
    ids = tokenizer.encode(story.text, add_special_tokens=False).ids[: model.params.context]
    inputs = torch.tensor([[end, *ids[:-1]]], device=model.embedding.weight.device)
    probabilities = model(inputs)[0].float().softmax(-1).cpu()  # (T, V)
    top = probabilities.topk(min(ALTERNATIVES, probabilities.shape[1]))
    texts = _texts(tokenizer, ids)
    scored = []
    for position, id_ in enumerate(ids):
        candidates = zip(top.indices[position].tolist(), top.values[position].tolist(), strict=True)
        alternatives = [(_name(tokenizer, candidate, end), round(p, 4)) for candidate, p in candidates]
        scored.append(ScoredToken(texts[position], round(float(probabilities[position, id_]), 4), alternatives))
    return scored


def _texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Return the text that each token adds; joined, they are the decoded text."""
    decoding = DecodeStream(skip_special_tokens=False)
    texts = [decoding.step(tokenizer, id_) or "" for id_ in ids]
    if texts:  # the stream holds back incomplete characters
        texts[-1] += tokenizer.decode(ids, skip_special_tokens=False)[len("".join(texts)) :]
    return texts


def _name(tokenizer: Tokenizer, id_: int, end: int) -> str:
    return "end of story" if id_ == end else str(tokenizer.decode([id_]))
