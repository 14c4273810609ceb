"""`LossSettings`: what a run minimises."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.batches import DistillationSettings, TargetKind


class LossSettings(BaseModel):
    """L = (L_cl + α L_gen) / (1 + α)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(
        default=0.01,
        ge=0,
        description="α: weight of the generative loss (paper: 0.01). 0 trains with the contrastive loss (GCL) only.",
    )
    contrastive: bool = Field(default=True, description="False trains with the generative loss (CSFT) only.")
    targets: TargetKind = Field(
        default="one_hot",
        description="What a note has to find in the batch. `one_hot`: its partner (paper); other notes that it co-occurs with are no "
        "negatives. `cooccurrences`: all notes that it co-occurs with, in proportion to a power of their scores.",
    )
    target_power: float = Field(
        default=0.5, ge=0, description="Exponent of the scores for `targets: cooccurrences`; 0: all count alike."
    )
    contrast_hashtag_prompts: bool = Field(
        default=True,
        description="False leaves the vectors of hashtag prompts out of the contrastive loss, because served vectors come from category "
        "prompts.",
    )
    memory: int = Field(
        default=0,
        ge=0,
        description="Number of vectors of earlier batches that a note also has to tell apart, or find with `targets: cooccurrences`; 0 for "
        "none (paper). Whole batches are kept.",
    )
    distillation: DistillationSettings | None = Field(
        default=None,
        description="Item vectors of the training notes give a part of each target; null: none do (paper).",
    )
    temperature: float = Field(default=3.0, description="Start value of τ; cosines are multiplied by e^τ (paper: 3).")

    @model_validator(mode="after")
    def _something_to_learn(self) -> "LossSettings":
        if not self.contrastive and self.alpha == 0:
            raise ValueError("contrastive is false and alpha is 0: this leaves no loss to train with")
        if not self.contrastive and self.memory:
            raise ValueError("contrastive is false: the generative loss needs no memory")
        if not self.contrastive and self.distillation:
            raise ValueError("contrastive is false: the generative loss has no target that distillation could give a part of")
        return self
