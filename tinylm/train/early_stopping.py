"""The best weights so far, which become the model, and whether validation has stopped improving."""

import math
from dataclasses import dataclass, field

from torch import nn

from tinylm.model.weight_names import Weights
from tinylm.scoring.story_losses import StoryLosses


@dataclass
class Best:
    """The weights with the lowest validation loss so far."""

    validation: StoryLosses | None = None
    step: int = 0
    weights: Weights = field(default_factory=dict)
    evals_since: int = 0  # validations after the best one

    @property
    def loss(self) -> float:
        """Validation loss [nats per token]; infinite before the first validation."""
        return self.validation.loss if self.validation else math.inf

    def update(self, step: int, validation: StoryLosses, model: nn.Module) -> None:
        """Copy the model's weights if `validation`, made at `step`, has the lowest loss so far."""
        self.evals_since += 1
        if validation.loss < self.loss:
            self.validation, self.step, self.evals_since = validation, step, 0
            self.weights = {name: weight.detach().clone() for name, weight in model.state_dict().items()}

    def should_stop(self, patience: int | None) -> bool:
        """Return whether the last `patience` validations brought no improvement; None never stops."""
        return patience is not None and self.evals_since >= patience
