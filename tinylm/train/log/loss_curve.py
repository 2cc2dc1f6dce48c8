"""The plot of the training and validation loss."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from tinylm.base import atomic


def draw_loss_curve(train: list[dict[str, Any]], val: list[dict[str, Any]], start_loss: float, path: Path) -> None:
    """Plot training and validation loss by step to `path` (PNG); `start_loss` is ln(vocabulary) [nats per token]."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot([row["step"] for row in train], [row["loss"] for row in train], color="#9db8d2", lw=1, label="train")
    axes.plot(
        [row["step"] for row in val],
        [row["loss"] for row in val],
        color="#c0392b",
        lw=2,
        marker="o",
        ms=4,
        label="validation",
    )
    axes.axhline(start_loss, color="#888888", lw=0.8, ls=":", label=f"guessing: {start_loss:.2f}")
    best = min(val, key=lambda row: row["loss"])
    bits = best["bits_per_byte"]
    axes.annotate(
        f"{best['loss']:.3f} nats/token" + ("" if bits is None else f"\n{bits:.3f} bits/byte"),
        (best["step"], best["loss"]),
        xytext=(0, 14),
        textcoords="offset points",
        ha="right",
        color="#c0392b",
    )
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
