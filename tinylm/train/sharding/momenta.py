"""Muon's momenta in resume checkpoints: of a whole model stacked by shape, of a sharded one a matrix for each weight.

Both hold the same numbers, so a run can go on with the other layout.
"""

import re

import torch
from torch import Tensor

from tinylm.train.optim.muon import same_shape, wide

MOMENTUM = re.compile(r"optimizer\.(\d+)\.(\d+)\.momentum")


def stacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stack the momenta, one for each matrix, under the first matrix of each shape, as `Muon` keeps them."""
    momenta = sorted((int(name[2]), name[0]) for name in map(MOMENTUM.fullmatch, tensors) if name)
    names = [name for _, name in momenta]
    others = {name: tensor for name, tensor in tensors.items() if name not in names}
    return others | {
        names[batch[0]]: torch.stack([wide(tensors[names[i]]) for i in batch])
        for batch in same_shape(tensors[name].shape for name in names)
    }
