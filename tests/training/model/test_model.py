"""Every way to compute the losses gives the same losses and the same gradients."""

from collections.abc import Callable, Sequence

import pytest
import torch
from peft import LoraConfig, get_peft_model

from notellm import Checkpoint, NoteLLM
from tests.training.batches.test_batches import BATCH, collator
from tests.training.batches.test_contrast import cooccurring
from training.batches import Contrast, Contrasts, TrainingBatch
from training.batches.examples import GlobalBatch
from training.model.frozen import FrozenLayers
from training.model.model import CachedGradients, Losses, TrainingModel
from training.model.shared_prefix import SHARED_PREFIX_ATTENTION

Gradients = dict[str, torch.Tensor]


def model(tiny: Checkpoint, attention: str = "eager", **settings: object) -> TrainingModel:
    note_llm = tiny.load_model()
    note_llm.requires_grad_(requires_grad=True)
    note_llm.causal_lm.set_attn_implementation(attention)
    return TrainingModel(note_llm, **{"alpha": 0.5, **settings})  # type: ignore[arg-type]


def tokens(batch: TrainingBatch) -> torch.Tensor:
    return torch.tensor(float(sum(len(chunk.output_ids) for chunk in batch.chunks)))


def whole(training: TrainingModel, batch: TrainingBatch, memory: torch.Tensor | None = None) -> tuple[Losses, Gradients]:
    training.zero_grad()
    losses = training(batch.chunks[0], batch.contrast, output_tokens=tokens(batch), remembered=memory)
    losses.total.backward()
    return losses, gradients(training)


def gradients(training: TrainingModel) -> Gradients:
    return {name: p.grad.clone() for name, p in training.named_parameters() if p.grad is not None}


def in_chunks(
    training: TrainingModel, batch: TrainingBatch, memory: torch.Tensor | None = None
) -> tuple[torch.Tensor, Gradients]:
    training.zero_grad()
    with torch.no_grad():
        embeddings = torch.cat([training(chunk) for chunk in batch.chunks])
    cached: CachedGradients = training(embeddings=embeddings, contrast=batch.contrast, remembered=memory)
    for index, chunk in enumerate(batch.chunks):
        share = cached.share(batch.chunk_slice(index), with_temperature=index == 0)
        training(chunk, output_tokens=tokens(batch), gradients=share).total.backward()
    return cached.contrastive, gradients(training)


def assert_same(got: Gradients, expected: Gradients) -> None:
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


SOFT = {"targets": "cooccurrences"}


class Remembering(Contrasts):
    """Contrasts whose batches remember the same notes."""

    def __init__(self, contrasts: Contrasts, notes: str) -> None:
        vars(self).update(vars(contrasts))
        self._notes = notes

    def __call__(self, batch: GlobalBatch, rank: int, ranks: int, remembered: Sequence[str] = ()) -> Contrast:
        return super().__call__(batch, rank, ranks, self._notes)


@pytest.fixture(params=[{}, SOFT], ids=["one-hot", "soft"])
def contrasts(request: pytest.FixtureRequest) -> Contrasts:
    known = cooccurring({"ab": 1.0, "ac": 9.0, "bd": 4.0, "cd": 2.0}, "abcd")
    return Contrasts(known, **request.param)


@pytest.fixture
def reference(tiny: Checkpoint, contrasts: Contrasts) -> tuple[Losses, Gradients]:
    return whole(model(tiny), collator(tiny, contrasts)(0, BATCH))


def test_a_packed_batch_gives_the_gradients_of_a_padded_one(
    tiny: Checkpoint, contrasts: Contrasts, reference: tuple[Losses, Gradients]
) -> None:
    losses, packed = whole(model(tiny, SHARED_PREFIX_ATTENTION), collator(tiny, contrasts, packed=True)(0, BATCH))
    torch.testing.assert_close(torch.stack(losses[:3]), torch.stack(reference[0][:3]), rtol=1e-5, atol=1e-6)
    assert "temperature.log_scale" in packed
    assert "note_llm.causal_lm.model.embed_tokens.weight" in packed
    assert_same(packed, reference[1])


def test_tasks_that_share_an_opening_give_the_gradients_of_padded_ones(tiny: Checkpoint) -> None:
    padded = whole(model(tiny), collator(tiny, version="shared-en")(0, BATCH))
    packed = whole(model(tiny, SHARED_PREFIX_ATTENTION), collator(tiny, version="shared-en", packed=True)(0, BATCH))
    torch.testing.assert_close(torch.stack(packed[0][:3]), torch.stack(padded[0][:3]), rtol=1e-5, atol=1e-6)
    assert_same(packed[1], padded[1])


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_gradcache_gives_the_gradients_of_one_batch(
    tiny: Checkpoint, contrasts: Contrasts, reference: tuple[Losses, Gradients], size: int, packed: bool
) -> None:
    training = model(tiny, SHARED_PREFIX_ATTENTION if packed else "eager")
    contrastive, cached = in_chunks(training, collator(tiny, contrasts, packed=packed, chunk_examples=size)(0, BATCH))
    torch.testing.assert_close(contrastive, reference[0].contrastive.detach(), rtol=1e-5, atol=1e-6)
    assert_same(cached, reference[1])


def test_gradcache_with_a_memory_gives_the_gradients_of_one_batch(tiny: Checkpoint) -> None:
    known = cooccurring({"ab": 1.0, "ac": 9.0, "be": 4.0, "cf": 2.0}, "abcdef")
    remembering = Remembering(Contrasts(known, **SOFT), "ef")  # type: ignore[arg-type]
    drawn = torch.randn(2, tiny.manifest.dimensions, generator=torch.Generator().manual_seed(0))
    memory = torch.nn.functional.normalize(drawn, dim=-1)
    training = model(tiny)
    expected, reference = whole(training, collator(tiny, remembering)(0, BATCH), memory)
    assert expected.embeddings is not None
    assert not expected.embeddings.requires_grad
    contrastive, cached = in_chunks(training, collator(tiny, remembering, chunk_examples=3)(0, BATCH), memory)
    torch.testing.assert_close(contrastive, expected.contrastive.detach(), rtol=1e-5, atol=1e-6)
    assert_same(cached, reference)
    forgetful = whole(training, collator(tiny, Contrasts(known, **SOFT))(0, BATCH))[0]  # type: ignore[arg-type]
    assert abs(forgetful.contrastive.item() - expected.contrastive.item()) > 1e-3


def test_gradient_checkpointing_changes_nothing(
    tiny: Checkpoint, contrasts: Contrasts, reference: tuple[Losses, Gradients]
) -> None:
    training = model(tiny, SHARED_PREFIX_ATTENTION)
    training.note_llm.causal_lm.gradient_checkpointing_enable({"use_reentrant": False})
    training.train()
    assert_same(whole(training, collator(tiny, contrasts, packed=True)(0, BATCH))[1], reference[1])


def test_embeddings_are_those_that_are_served(tiny: Checkpoint) -> None:
    batch = collator(tiny, packed=True)(0, BATCH)
    trained = model(tiny, SHARED_PREFIX_ATTENTION)(batch.chunks[0]).detach()
    served: NoteLLM = tiny.load_model()
    for vector, asked in zip(trained, (*BATCH.first, *BATCH.second), strict=True):
        example = collator(tiny).example(asked)
        torch.testing.assert_close(vector, served(torch.tensor(example.ids[: example.embedding + 1])), rtol=1e-4, atol=1e-5)


def test_the_embedding_does_not_see_the_answer(tiny: Checkpoint) -> None:
    training = model(tiny)
    rows = collator(tiny)(0, BATCH).chunks[0]
    before = training(rows).detach()
    after_emb = rows.input_ids.clone()
    width = after_emb.shape[1]
    for row, position in enumerate(rows.embedding_at.tolist()):
        after_emb[row, position - row * width + 1 :] = 5
    changed = training(type(rows)(**{**vars(rows), "input_ids": after_emb})).detach()
    torch.testing.assert_close(changed, before)


def with_lora(tiny: Checkpoint, frozen: bool) -> TrainingModel:
    training = model(tiny, SHARED_PREFIX_ATTENTION)
    torch.manual_seed(0)
    lora = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], layers_to_transform=[2], init_lora_weights=False)
    get_peft_model(training.note_llm.causal_lm, lora)
    kept = FrozenLayers(training.note_llm.causal_lm.model, 2) if frozen else None
    return TrainingModel(training.note_llm, 0.5, frozen=kept)


def test_kept_frozen_layers_give_the_same_gradients_the_second_time_too(tiny: Checkpoint) -> None:
    batch = collator(tiny, packed=True)(0, BATCH)
    _, expected = whole(with_lora(tiny, frozen=False), batch)
    training = with_lora(tiny, frozen=True)
    _, first = whole(training, batch)
    _, second = whole(training, batch)
    assert any("lora_A" in name for name in expected)
    for got in (first, second):
        assert got.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(got[name], gradient, rtol=2e-2, atol=2e-4)  # kept in float16
    frozen = training._frozen
    assert frozen is not None
    assert (frozen.misses, frozen.hits) == (4, 4)


@pytest.fixture
def build_without(tiny: Checkpoint) -> Callable[..., TrainingModel]:
    return lambda **settings: model(tiny, **settings)


def test_csft_only_leaves_the_projection_and_the_temperature_alone(
    tiny: Checkpoint, build_without: Callable[..., TrainingModel]
) -> None:
    losses, got = whole(build_without(contrastive=False), collator(tiny)(0, BATCH))
    assert losses.total == losses.generative
    assert float(losses.contrastive) == 0
    assert not any(name.startswith(("temperature", "note_llm.projection")) for name in got)


def test_gcl_only_computes_no_logits(tiny: Checkpoint, build_without: Callable[..., TrainingModel]) -> None:
    training = build_without(alpha=0.0)
    training.note_llm.causal_lm.lm_head.register_forward_hook(lambda *_: pytest.fail("the head ran"))
    losses, _ = whole(training, collator(tiny)(0, BATCH))
    assert losses.total == losses.contrastive
    assert float(losses.generative) == 0


def test_the_head_runs_at_output_positions_only(tiny: Checkpoint) -> None:
    training = model(tiny)
    batch = collator(tiny)(0, BATCH)
    seen: list[int] = []
    training.note_llm.causal_lm.lm_head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[0]))
    whole(training, batch)
    assert seen == [len(batch.chunks[0].output_ids)]
