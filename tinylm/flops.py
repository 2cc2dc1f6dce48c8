"""How many floating-point operations a model takes, of which speed is told as a share of the machine's."""

from tinylm.params.model import ModelParams


def training_flop_per_token(p: ModelParams, parameters: int) -> int:
    """FLOP of a training step for each token, as Chowdhery et al. 2022 (arXiv:2204.02311, appendix B) count them.

    6 for each weight, and 12 x layers x width x context for attention (all pairs, though half are masked).
    An input embedding of its own is looked up and not multiplied, but counts there, and so it does here.
    """
    return 6 * parameters + 12 * p.layers * p.width * p.context
