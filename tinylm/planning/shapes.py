"""Model shapes of different sizes with the proportions of presets/quick.yaml: which width, depth and heads go together.

layers      width / 32, at least 2
heads       of size 64, or as near to it as divides the width
mlp_width   8/3 of the width for the three matrices of SwiGLU, 4 times for GELU; a multiple of 8
"""

from collections.abc import Iterator
from typing import Any

from tinylm.base.errors import UserError
from tinylm.model.params import ModelParams
from tinylm.planning.sizes import count_parameters

ASPECT = 32  # width of a layer per layer
FEWEST_LAYERS = 2
HEAD = 64
FURTHEST = 1.3  # a shape may have so many times the parameters that were asked for
# Widths are multiples of 16, from 512 on of 64, and from 1,024 on of 256.
WIDTHS = (*range(16, 512, 16), *range(512, 1024, 64), *range(1024, 4097, 256))


def shape(width: int, architecture: str) -> dict[str, int]:
    """Return the values of the section `model` for a width."""
    heads = max(1, width // HEAD)
    while width % heads or width // heads % 2:
        heads -= 1
    wide = 4 * width if architecture == "gpt2" else 8 * -(-width // 3)  # 8/3 of it, rounded up to a multiple of 8
    return {
        "layers": max(FEWEST_LAYERS, round(width / ASPECT)),
        "heads": heads,
        "width": width,
        "mlp_width": wide,
    }


def shapes(base: ModelParams) -> Iterator[ModelParams]:
    """Yield the base with the sizes of each shape, the smallest first."""
    for width in WIDTHS:
        yield base.model_copy(update=shape(width, base.architecture))


def nearest(base: ModelParams, vocab_size: int, parameters: float) -> dict[str, Any]:
    """Return the values of the shape whose number of parameters is nearest to `parameters`, embeddings included.

    Raises UserError if none is near.
    """
    best, best_ratio = base, float("inf")
    for model in shapes(base):
        total = count_parameters(model, vocab_size).total
        ratio = max(total / parameters, parameters / total)
        if ratio > best_ratio:  # from here on they only get larger
            break
        best, best_ratio = model, ratio
    if best_ratio > FURTHEST:
        found = count_parameters(best, vocab_size).total
        raise UserError(
            f"--sizes: no model has about {parameters:,.0f} parameters with {vocab_size:,} entries of the vocabulary; "
            f"the nearest has {found:,}"
        )
    return best.model_dump(include={"layers", "heads", "width", "mlp_width"})
