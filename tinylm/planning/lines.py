"""An estimate as lines for the terminal."""

from collections.abc import Iterator

from tinylm.base.durations import show
from tinylm.compute.memory import gigabytes
from tinylm.planning.estimate import Estimate
from tinylm.train.sharding.layout import Layout

LABEL = 15  # characters


def lines(found: Estimate, text: str) -> Iterator[str]:
    """Yield the lines; `text` names the text that is trained on, for which there may be no law."""
    for label, value in _values(found, text):
        yield f"{label:{LABEL}} {value}"


def _values(found: Estimate, text: str) -> Iterator[tuple[str, str]]:
    run, size, memory = found.run, found.run.size, found.memory
    head = f"{size.head:,}" if size.head else "0 (it shares the embedding's)"
    yield "device", found.target
    yield "parameters", f"{size.total:,}: embedding {size.embedding:,}, blocks {size.blocks:,}, head {head}"
    parts = {"weights": memory.weights, "gradients": memory.gradients, "optimizer": memory.optimizer}
    parts |= {"best weights": memory.best, "activations": memory.activations, "logits": memory.logits}
    parts |= {"peak and workspace": memory.workspace}
    shown = ", ".join(f"{name} {gigabytes(size)}" for name, size in parts.items())
    if found.devices > 1 or found.chosen.layout.checkpointing:
        yield "layout", _layout(found)
    each = "of each device" if found.devices > 1 else "besides the bare process"
    yield "memory", f"{gigabytes(memory.total)} {each}, with {found.sequences} sequences at once: {shown}"
    seen = f"each of about {run.text_tokens:,} is seen {run.times_seen:.2g} times"
    yield "tokens", f"{run.tokens:,} in {run.steps:,} steps of {run.tokens_per_step:,}; {seen}"
    yield "work", f"{run.flop / 1e15:.3g} PFLOP"
    yield "speed", f"{found.speed.tokens_per_second:,.0f} tokens/s ({found.speed.source})"
    if found.devices > 1:
        yield "communication", _communication(found)
        if found.efficiency:
            lowest, highest = found.efficiency
            hidden = f", up to {highest:.0%} where computation hides communication"
            yield "efficiency", f"{lowest:.0%} of {found.devices} times the speed of one{hidden}"
    yield "time", f"{show(found.seconds)} of training, validations included"
    if found.kilowatt_hours is not None:
        yield "energy", f"{found.kilowatt_hours:.3g} kWh at most, at the {found.watts:,.0f} W of the boards"
    if found.cost is not None:
        yield "cost", f"{found.cost:,.2f} at {found.price:g} an hour"
    disk = ", ".join(f"{name} {gigabytes(size)}" for name, size in found.disk.items())
    yield "disk", f"{gigabytes(sum(found.disk.values()))}: {disk}"
    yield "bits per byte", _bits(found, text)


def _layout(found: Estimate) -> str:
    layout, limit = found.chosen.layout, found.chosen.limit
    name = _name(layout, found.devices)
    lacking = [
        f"{_name(other, found.devices)} {gigabytes(needed)}"
        for other, needed in found.chosen.looked_at.items()
        if other != layout and limit is not None and needed > limit
    ]
    if not lacking or limit is None:
        return name
    return f"{name} ({gigabytes(round(limit))} are there, would be needed: {', '.join(lacking)})"


def _name(layout: Layout, devices: int) -> str:
    parts = ["FSDP" if layout.sharded else "DDP"] * (devices > 1)
    parts += ["activation checkpointing"] * layout.checkpointing
    return " with ".join(parts) or "without activation checkpointing"


def _communication(found: Estimate) -> str:
    sent = f"{gigabytes(round(found.exchange.sent.total))} sent by each device in a step"
    if found.exchange.seconds is None or found.exchange.links is None:
        return f"{sent}, in a time that is not known"
    step = found.run.tokens_per_step / found.speed.tokens_per_second
    return f"{sent}: {found.exchange.seconds:.2g} of its {step:.2g} s, at {found.exchange.links.pace}"


def _bits(found: Estimate, text: str) -> str:
    if found.bits is None or found.law is None:
        return f"not known: there is no law for {text} in scaling/; `tinylm scale` fits one"
    ends = found.bits_interval
    interval = f" (95%: {ends[0]:.3f} to {ends[1]:.3f})" if ends else ""
    return "; ".join([f"{found.bits:.3f}{interval} by {found.law.path}", *found.notes()])
