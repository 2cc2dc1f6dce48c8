"""The plot of the training and validation loss."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from tinylm.base import atomic

# Of Okabe and Ito's palette, which colour-blind readers can tell apart; the reference line is dark grey and dotted.
TRAINING, VALIDATION, GUESSING = "#0072b2", "#d55e00", "#595959"


def draw_loss_curve(train: list[dict[str, Any]], val: list[dict[str, Any]], start_loss: float, path: Path) -> None:
    """Plot training and validation loss by step to `path` (PNG); `start_loss` is ln(vocabulary) [nats per token]."""
    best = min(val, key=lambda row: row["loss"])
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot([row["step"] for row in train], [row["loss"] for row in train], color=TRAINING, lw=1, label="training")
    axes.plot(
        [row["step"] for row in val],
        [row["loss"] for row in val],
        color=VALIDATION,
        lw=2,
        marker="o",
        ms=4,
        label=f"validation, best: {_in_words(best)}",
    )
    axes.plot(best["step"], best["loss"], "o", color=VALIDATION, ms=8)
    axes.axhline(start_loss, color=GUESSING, lw=1, ls=":", label=f"uniform guess: {start_loss:.2f}")
    axes.set(xlabel="step", ylabel="loss [nats per token], logarithmic", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)


def _in_words(row: dict[str, Any]) -> str:
    bits = row["bits_per_byte"]
    return f"{row['loss']:.3f} nats per token" + ("" if bits is None else f", {bits:.3f} bits per byte")
