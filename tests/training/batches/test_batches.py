"""Packed and padded rows hold the same, and labels are where brute force finds them."""

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from notellm import Checkpoint, NotePrompt, PromptSettings
from notellm.note import Note
from notellm.prompt import PromptVersion
from tests.training.batches.test_contrast import cooccurring
from training.batches.batches import Collator, TokenRows
from training.batches.contrast import Contrasts
from training.batches.examples import Asked, GlobalBatch

NOTES = {
    note.id: note
    for note in (
        Note(id="a", title="Cold brew", content="with #ice and ice", hashtags=("coffee",), category="coffee"),
        Note(id="b", title="Hops", hashtags=("beer", "home brewing"), category="beer"),
        Note(id="c", title="Qubits", content="noisy gate " * 9, hashtags=("gates",)),
        Note(id="d", content="malt", category="beer"),
    )
}
BATCH = GlobalBatch(
    (Asked("a", "hashtags", ("ice", "coffee")), Asked("b", "category")),
    (Asked("c", "hashtags", ("gates",)), Asked("d", "category")),
)


def collator(
    tiny: Checkpoint, contrasts: Contrasts | None = None, version: PromptVersion = "paper-en", **settings: object
) -> Collator:
    prompt = NotePrompt(tiny.tokenizer, tiny.manifest.emb_token_id, PromptSettings(version=version))
    contrasts = contrasts or Contrasts(cooccurring({"ac": 2.0, "bd": 1.0}, "abcd"))
    return Collator(NOTES, prompt, contrasts, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("packed", [False, True])
def test_rows_read_back_as_prompt_and_answer(tiny: Checkpoint, packed: bool) -> None:
    batch = collator(tiny, packed=packed)(0, BATCH)
    (rows,) = batch.chunks
    ids = rows.input_ids.flatten()
    tokenizer: PreTrainedTokenizerBase = tiny.tokenizer
    answers = tokenizer.decode(rows.output_ids)
    assert answers == " ice, coffee<|im_end|> beer<|im_end|> gates<|im_end|> beer<|im_end|>"
    assert tokenizer.decode(ids[rows.embedding_at]) == ':"' * 4 or all(
        int(ids[position + 1]) == tiny.manifest.emb_token_id for position in rows.embedding_at
    )
    sequence = sequences(rows)
    followed = [
        (int(ids[position + 1]), token)
        for position, token in zip(rows.predict_at.tolist(), rows.output_ids.tolist(), strict=True)
        if sequence[position] == sequence.get(position + 1)  # in a pack the opening may lie far before
    ]
    assert len(followed) == len(rows.output_ids) if rows.runs is None else followed
    assert all(following == token for following, token in followed)


def sequences(rows: TokenRows) -> dict[int, int]:
    """Which sequence each position belongs to."""
    if rows.runs is None:
        return {position: position // rows.input_ids.shape[1] for position in range(rows.input_ids.numel())}
    starts = ((run, start) for run in rows.runs for start in range(run.start, run.end, run.length))
    return {position: start for run, start in starts for position in range(start, start + run.length)}


def test_the_answers_are_not_in_the_prompt(tiny: Checkpoint) -> None:
    example = collator(tiny).example(BATCH.first[0])
    prompt = tiny.tokenizer.decode(list(example.ids[: example.output]))
    assert "#ice" not in prompt
    assert "and ice" in prompt  # a plain word stays
    assert "coffee" not in prompt
    assert "'topic'" not in prompt
    assert "generate 2 topics" in prompt


def test_positions_of_a_pack_are_those_of_each_example(tiny: Checkpoint) -> None:
    make = collator(tiny)
    examples = [make.example(asked) for asked in (*BATCH.first, *BATCH.second)]
    rows = TokenRows.packed(examples)
    assert rows.runs is not None
    for run in rows.runs:
        for start in range(run.start, run.end, run.length):
            assert rows.position_ids[0, start : start + run.length].tolist() == list(
                range(run.prefix_length, run.prefix_length + run.length)
            )
    assert sum(run.count * run.length for run in rows.runs) == rows.tokens < TokenRows.padded(examples, 0).tokens


def test_one_instruction_for_all_tasks_is_one_opening_of_a_pack(tiny: Checkpoint) -> None:
    openings: dict[str, int] = {}
    versions: tuple[PromptVersion, ...] = ("paper-en", "shared-en")
    for version in versions:
        (rows,) = collator(tiny, version=version, packed=True)(0, BATCH).chunks
        assert rows.runs is not None
        openings[version] = sum(not run.prefix_length for run in rows.runs)
        # Each output is predicted at the end of its prompt, whichever sequences the opening is shared with.
        assert tiny.tokenizer.decode(rows.output_ids) == " ice, coffee<|im_end|> beer<|im_end|> gates<|im_end|> beer<|im_end|>"
    # A category, one hashtag, two hashtags.
    assert openings == {"paper-en": 3, "shared-en": 1}


def test_every_output_token_of_brute_force_is_a_label(tiny: Checkpoint) -> None:
    make = collator(tiny)
    examples = [make.example(asked) for asked in (*BATCH.first, *BATCH.second)]
    rows = TokenRows.padded(examples, 0)
    expected = []
    for row, example in enumerate(examples):
        for position in range(len(example.ids)):
            before = tiny.tokenizer.decode(list(example.ids[:position]))
            if before.count('".') and (" are:" in before or "category is:" in before):
                expected.append((row * rows.input_ids.shape[1] + position - 1, example.ids[position]))
    assert list(zip(rows.predict_at.tolist(), rows.output_ids.tolist(), strict=True)) == expected


def test_a_process_gets_the_contrast_of_its_share(tiny: Checkpoint) -> None:
    contrasts = Contrasts(cooccurring({"ac": 2.0, "bd": 1.0, "ad": 1.0}, "abcd"))
    got, expected = collator(tiny, contrasts, rank=1, ranks=2)(0, BATCH).contrast, contrasts(BATCH, 1, 2)
    assert torch.equal(got.targets, expected.targets)
    assert torch.equal(got.left_out, expected.left_out)


def test_chunks_cover_the_share_in_order(tiny: Checkpoint) -> None:
    whole = collator(tiny)(0, BATCH)
    cut = collator(tiny, chunk_examples=3)(0, BATCH)
    assert [len(chunk.embedding_at) for chunk in cut.chunks] == [3, 1]
    assert [cut.chunk_slice(index) for index in range(2)] == [slice(0, 3), slice(3, 4)]
    assert torch.equal(torch.cat([chunk.output_ids for chunk in cut.chunks]), whole.chunks[0].output_ids)
