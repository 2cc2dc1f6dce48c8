"""The order of rows that programs of the original Llama expect in query and key projections."""

from torch import Tensor


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Return the rows of a query or key projection, (D, D), in the order for RoPE that rotates neighbours.

    Our RoPE rotates row i of a head with row i + K / 2 (K: head size), theirs row 2 i with row 2 i + 1. Queries and
    keys change alike, so their scores stay.
    """
    halves = weight.unflatten(0, (heads, 2, -1))  # (H, 2, K / 2, D)
    return halves.transpose(1, 2).flatten(0, 2)
