"""The model card as training can write it: without the origin of the text, the score and stories, which come later."""

from tinylm.model.card import LOADING, SHARED, compose, describe, size, table
from tinylm.train.step import Trainer

UNKNOWN = (
    "Training writes this card, and does not know where the text is from and under which licence, the score on all "
    "held-out stories, and how the model writes. The card in `artifacts/card/` says it; `tinylm push` sends that one."
)


def training_card(trainer: Trainer) -> str:
    """Return the card of the best weights: the same bytes for equal runs. They must have been validated."""
    model, best = trainer.model, trainer.best
    assert best.validation
    loss, held_out = best.validation.loss_interval(), len(best.validation.nats)
    parameters = model.size().parameters
    rows = describe(model.params.model_dump(), parameters, model.params.context) | {
        "vocabulary": f"{model.vocab_size:,}",
        "training": f"{trainer.step:,} steps, {trainer.step * trainer.tokens_per_step:,} tokens",
        "weights": f"of step {best.step:,}, in float32",
        "validation loss": f"{best.validation.loss:.4f} nats per token (95%: {loss.low:.4f} to {loss.high:.4f}), "
        f"on the {held_out:,} held-out stories by which the weights were chosen",
    }
    title = f"# tinylm-{size(parameters)}"
    about = f"A language model with {parameters:,} parameters, which writes short stories."
    return compose(SHARED, [title, about, LOADING, "## Training", table(rows), "## Not in this card", UNKNOWN])
