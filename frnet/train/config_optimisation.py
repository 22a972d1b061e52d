"""The sections of a configuration that say how it is minimised."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .config_values import Count, NotNegative, Positive, Section, Share

__all__ = ["EMA", "SGD", "AdamW", "Cosine", "Milestones", "Optimizer", "Schedule"]


class SGD(Section):
    """:class:`torch.optim.SGD`, by default as 3DDFA has it.

    Attributes:
        lr: the learning rate that the schedule's factors multiply.
        weight_decay_of_vectors: whether what has one dimension (normalisations, biases) decays too.
    """

    kind: Literal["sgd"]
    lr: Positive = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: NotNegative = 5e-4
    weight_decay_of_vectors: bool = True

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class AdamW(Section):
    """:class:`torch.optim.AdamW`. Attributes as of :class:`SGD`."""

    kind: Literal["adamw"]
    lr: Positive = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: NotNegative = 0.05
    weight_decay_of_vectors: bool = False


class Milestones(Section):
    """3DDFA's rule: ``lr * factor^n``, with n = 1 in the warm-up, 0 behind it and one more behind each milestone.

    Attributes:
        milestones: the last epochs of each rate but the last one, counting from 1, rising.
        factor: of one step.
        warmup_epochs: at the front, at ``factor`` times the rate.
    """

    kind: Literal["milestones"]
    milestones: list[Count] = Field([30, 40])
    factor: Annotated[float, Field(gt=0, le=1)] = 0.2
    warmup_epochs: Annotated[int, Field(ge=0)] = 5

    @model_validator(mode="after")
    def _rising(self) -> Milestones:
        steps = [self.warmup_epochs, *self.milestones]
        if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
            raise ValueError(f"milestones must rise, and lie behind the {self.warmup_epochs} epochs of warm-up")
        return self


class Cosine(Section):
    """A straight line up, then half a cosine down, both step by step.

    Attributes:
        warmup_epochs: of the line; may be a fraction.
        final_factor: of the learning rate, where it ends.
    """

    kind: Literal["cosine"]
    warmup_epochs: NotNegative = 1.0
    final_factor: Annotated[float, Field(ge=0, le=1)] = 0.01


Optimizer = Annotated[SGD | AdamW, Field(discriminator="kind")]
Schedule = Annotated[Milestones | Cosine, Field(discriminator="kind")]


class EMA(Section):
    """An exponential moving average of the weights, with which is validated and which is saved for use.

    Attributes:
        decay: of the average at a step; less at the beginning: at most (1 + n) / (10 + n) at step n.
    """

    decay: Share = 0.999
