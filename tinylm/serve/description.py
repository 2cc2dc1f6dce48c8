"""What the page needs to know of a model."""

from pathlib import Path
from typing import Any

from tinylm.base.fields import HOTTEST, LARGEST_SEED, LONGEST_PROMPT
from tinylm.sampling.request import LARGEST_TOP_K
from tinylm.sampling.streaming import TextGenerator


def describe(generator: TextGenerator, name: str | Path, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return what the page needs to know: the model, the defaults of a request, and their limits."""
    return {
        "model": str(name),
        "parameters": generator.model.size().parameters,
        "defaults": defaults,
        "limits": {
            "prompt": LONGEST_PROMPT,  # characters
            "temperature": HOTTEST,
            "top_k": min(LARGEST_TOP_K, generator.model.vocab_size),
            "max_tokens": generator.longest,
            "seed": LARGEST_SEED,
        },
    }
