"""What a model thought of each token of a story, and what it would have said instead."""

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
class ReadToken:
    text: str  # empty where a character is not complete yet
    probability: float  # at temperature 1, after all before it
    alternatives: list[tuple[str, float]]  # the likeliest texts here, with their probabilities


@torch.inference_mode()
def read_story(model: Transformer, tokenizer: Tokenizer, story: Story) -> list[ReadToken]:
    """Every token of the story's text, as far as the model's context goes."""
    end = end_of_text_id(tokenizer)
    ids = tokenizer.encode(story.text, add_special_tokens=False).ids[: model.params.context]
    inputs = torch.tensor([[end, *ids[:-1]]], device=model.embedding.weight.device)
    probabilities = model(inputs)[0].float().softmax(-1).cpu()  # (T, V)
    likeliest = probabilities.topk(min(ALTERNATIVES, probabilities.shape[1]))
    texts = _texts(tokenizer, ids)
    read = []
    for place, id_ in enumerate(ids):
        others = zip(likeliest.indices[place].tolist(), likeliest.values[place].tolist(), strict=True)
        alternatives = [(_name(tokenizer, other, end), round(share, 4)) for other, share in others]
        read.append(ReadToken(texts[place], round(float(probabilities[place, id_]), 4), alternatives))
    return read


def _texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text, which they are together."""
    decoding = DecodeStream(skip_special_tokens=False)
    texts = [decoding.step(tokenizer, id_) or "" for id_ in ids]
    if texts:  # the stream keeps back what may be half a character
        texts[-1] += tokenizer.decode(ids, skip_special_tokens=False)[len("".join(texts)) :]
    return texts


def _name(tokenizer: Tokenizer, id_: int, end: int) -> str:
    return "end of story" if id_ == end else str(tokenizer.decode([id_]))
