"""Live samples: stories shown during training. They have their own random generator and are not part of the outputs.

Generation is a plain loop without a KV cache: the whole context is recomputed for each token.
"""

from collections.abc import Callable

import torch
from tokenizers import Tokenizer

from tinylm.model.transformer import Transformer

TEMPERATURE, MOST_TOKENS = 0.8, 120


@torch.no_grad()
def live_sample(
    model: Transformer,
    tokenizer: Tokenizer,
    end_of_text: int,
    prompt: str,
    step: int,
    agree: Callable[[int], int] = int,
) -> str:
    """A story that continues `prompt`, prompt included; the same for the same weights and step.

    Processes that share the weights write it together: `agree` returns the token that the main one has drawn.
    """
    was_training = model.training
    model.eval()
    generator = torch.Generator().manual_seed(step)
    ids = [end_of_text, *tokenizer.encode(prompt).ids]
    while len(ids) < min(MOST_TOKENS, model.params.context):
        logits = model(torch.tensor([ids], device=model.embedding.weight.device))[0, -1].float().cpu()
        probabilities = (logits / TEMPERATURE).softmax(-1)
        token = agree(int(torch.multinomial(probabilities, 1, generator=generator)))
        if token == end_of_text:
            break
        ids.append(token)
    model.train(was_training)
    return str(tokenizer.decode(ids[1:]))
