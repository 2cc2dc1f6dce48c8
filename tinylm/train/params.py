"""`train`: how the model is trained."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tinylm.base.fields import MOST_STEPS, Batch, Seed, Steps, Stride
from tinylm.base.params import Section

Rate = Annotated[float, Field(ge=1e-9, le=10)]
Amount = Annotated[float, Field(ge=1e-6, le=1e6)]
Stories = Annotated[int, Field(gt=0, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, le=0.99999)]


class TrainParams(Section):
    name: ClassVar[str] = "train"

    steps: Steps | None  # optimizer steps; null: by epochs
    epochs: Amount | None  # times through all sequences of the training tokens; null: by steps
    batch_size: Batch  # sequences in a step
    micro_batch_size: Batch | None  # sequences at once in memory; null: the whole batch
    sequences: Literal["random", "strided"]  # drawn anywhere, or every `stride` tokens in a new order each epoch
    stride: Stride | None  # tokens between the starts of strided sequences; null: the context, no overlap
    align: Literal["none", "story"]  # story: a sequence starts where a story does (strided: one a story)
    optimizer: Literal["adamw", "muon"]  # muon: Muon for hidden matrices, AdamW for the rest
    peak_lr: Rate  # AdamW's highest learning rate
    muon_lr: Rate  # Muon's highest learning rate
    warmup_steps: Annotated[int, Field(ge=0, le=MOST_STEPS)]  # steps of linear rise to the peak
    decay: Literal["cosine", "linear"]  # from the peak to the end
    final_lr_fraction: Fraction  # learning rate at the last step, as a share of the peak
    weight_decay: Annotated[float, Field(ge=0, le=10)]  # on matrices only
    beta1: Decay  # AdamW's decay of the mean of gradients
    beta2: Decay  # AdamW's decay of the mean of squared gradients
    momentum: Decay  # Muon's
    grad_clip: Amount | None  # longest gradient (global L2 norm); null: no limit
    precision: Literal["auto", "bf16", "fp16", "fp32"]  # of the arithmetic; auto: bf16 where hardware has it
    seed: Seed  # of weights, sequences and dropout
    log_every: Steps  # steps between rows of plots/train.csv
    val_every: Steps  # steps between validations
    val_stories: Stories | None  # stories in a validation, the same each time; null: the whole split
    checkpoint_every: Steps | None  # steps between checkpoints; null: first and last only
    resume_every: Steps | None  # steps between states to resume from; null: by time alone (runtime)
    early_stop_evals: Steps | None  # stop when so many validations in a row have not gained; null: never
    deterministic: bool  # on GPUs too the same bytes from run to run, with slower kernels; CPUs give them anyway

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
