"""The batches of a plan in its order, and the memory that each of them reads."""

import torch

from notellm import Checkpoint
from tests.training.batches.test_batches import NOTES, collator
from training.batches import BatchPlan, ExampleSettings, MemoryPlan
from training.data import Pair
from training.loop.planned_batches import PlannedBatches


def test_each_step_is_the_plans_batch(tiny: Checkpoint) -> None:
    pairs = [Pair("a", "c", 2.0), Pair("b", "d", 1.0)]
    plan = BatchPlan(pairs, NOTES, ExampleSettings(pairs_per_batch=2, epochs=3), seed=0)
    batches = PlannedBatches(plan, collator(tiny, memory=MemoryPlan(plan, size=8)))
    assert len(batches) == 3
    for step in range(3):
        batch, alone = batches[step], collator(tiny)(step, plan[step])
        assert batch.step == step
        torch.testing.assert_close(batch.chunks[0].input_ids, alone.chunks[0].input_ids)
        assert batch.remembered is not None
        assert batch.remembered.notes == ()  # each batch holds all four notes
        assert batch.remembered.write.tolist() == [(4 * step + place) % 8 for place in range(4)]
