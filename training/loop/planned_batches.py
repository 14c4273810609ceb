"""`PlannedBatches`: the batches of a run, as tensors."""

from torch.utils.data import Dataset

from training.batches import BatchPlan, Collator, TrainingBatch


class PlannedBatches(Dataset[TrainingBatch]):
    """The plan's batches by step, as tensors for this process."""

    def __init__(self, plan: BatchPlan, collator: Collator) -> None:
        self.plan = plan
        self.collator = collator

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> TrainingBatch:
        return self.collator(step, self.plan[step])
