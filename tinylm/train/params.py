"""Section `train` of params.yaml: how the model is trained."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tinylm.base.fields import MOST_STEPS, Batch, Path, Seed, Steps, Stride
from tinylm.base.params import Section

Rate = Annotated[float, Field(ge=1e-9, le=10)]
Amount = Annotated[float, Field(ge=1e-6, le=1e6)]
Stories = Annotated[int, Field(gt=0, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, le=0.99999)]


class TrainParams(Section):
    name: ClassVar[str] = "train"

    init_from: Path | None  # model folder whose weights training starts from; null: random weights
    steps: Steps | None  # optimizer steps; null: set by `epochs`
    epochs: Amount | None  # passes over all training sequences; null: set by `steps`
    batch_size: Batch  # sequences per step
    micro_batch_size: Batch | None  # sequences in memory at once; null: the whole batch
    sequences: Literal["random", "strided"]  # at random positions, or every `stride` tokens in a new order each epoch
    stride: Stride | None  # tokens between the starts of strided sequences; null: model.context, so no overlap
    align: Literal["none", "story"]  # story: every sequence starts at a story (strided: one per story)
    optimizer: Literal["adamw", "muon"]  # muon: Muon for hidden matrices, AdamW for the rest
    peak_lr: Rate  # peak learning rate of AdamW
    muon_lr: Rate  # peak learning rate of Muon
    warmup_steps: Annotated[int, Field(ge=0, le=MOST_STEPS)]  # steps of linear warm-up
    decay: Literal["cosine", "linear"]  # learning rate after the warm-up
    final_lr_fraction: Fraction  # learning rate at the last step, as a fraction of the peak
    weight_decay: Annotated[float, Field(ge=0, le=10)]  # on matrices only
    beta1: Decay  # AdamW's decay rate of the first moment
    beta2: Decay  # AdamW's decay rate of the second moment
    momentum: Decay  # momentum of Muon
    grad_clip: Amount | None  # largest global L2 norm of the gradient; null: no clipping
    precision: Literal["auto", "bf16", "fp16", "fp32"]  # compute dtype; auto: bf16 where the hardware has it
    seed: Seed  # for initial weights (unless `init_from` has them), sequences and dropout
    log_every: Steps  # steps between rows of plots/train.csv
    val_every: Steps  # steps between validations
    val_stories: Stories | None  # stories per validation, always the same ones; null: the whole split
    checkpoint_every: Steps | None  # steps between checkpoints; null: only the first and the last
    resume_every: Steps | None  # steps between resume checkpoints; null: runtime.resume_minutes alone
    early_stop_evals: Steps | None  # stop after this many validations without improvement; null: never
    deterministic: bool  # the same bytes from run to run on GPUs too, with slower kernels; CPUs always do so

    @classmethod
    def conflicts(cls, good: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if {"steps", "epochs"} <= good.keys() and (good["steps"] is None) == (good["epochs"] is None):
            both = "neither" if good["steps"] is None else "both"
            yield "steps", f"expected either train.steps or train.epochs, the other null; got {both}"
        batch, micro = good.get("batch_size"), good.get("micro_batch_size")
        if batch and micro and batch % micro:
            yield "micro_batch_size", f"expected a divisor of train.batch_size = {batch}, got {micro}"
        if good.get("stride") and good.get("sequences") == "random":
            yield "stride", f"expected null with train.sequences: random, got {good['stride']}"
        elif good.get("stride") and good.get("align") == "story":
            yield "stride", f"expected null with train.align: story (one sequence a story), got {good['stride']}"
        steps, warmup = good.get("steps"), good.get("warmup_steps")
        if steps and warmup and warmup > steps:
            yield "warmup_steps", f"expected at most train.steps = {steps}, got {warmup}"

    @classmethod
    def conflicts_with(
        cls, others: Mapping[str, Mapping[str, Any]], good: Mapping[str, Any]
    ) -> Iterator[tuple[str, str]]:
        context, stride = others["model"].get("context"), good.get("stride")
        if context and stride and stride > context:
            yield "stride", f"expected at most model.context = {context}, or tokens are never trained on; got {stride}"

    @classmethod
    def file_conflicts(cls, values: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
        folder = values["train"]["init_from"]
        if folder is None:
            return
        from tinylm.train.setup import initial_model  # loads torch, which takes seconds

        yield from initial_model.conflicts(pathlib.Path(folder), values["model"])
