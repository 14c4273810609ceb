import pytest

from notellm import Checkpoint
from notellm.hashtags import choice_pattern, hashtag_list_pattern
from service.engines import GenerationRequest, LocalEngine
from tests.conftest import CATEGORIES, NOTES


@pytest.fixture(scope="module")
def engine(tiny: Checkpoint) -> LocalEngine:
    return LocalEngine(tiny, tiny.prompt(), max_batch_tokens=512, threads=1)


def requests_for(checkpoint: Checkpoint, pattern: str, limit: int) -> list[GenerationRequest]:
    prompt = checkpoint.prompt()
    return [GenerationRequest(tuple(prompt.category(note)), pattern, limit) for note in prompt.tokenize(NOTES)]


@pytest.mark.parametrize("choices", [CATEGORIES, ("a", "ab", "abc"), ("咖啡", "旅行", "🍺"), ("a.b|c", "(d)")])
def test_a_choice_is_always_one_of_the_list(choices: tuple[str, ...], tiny: Checkpoint, engine: LocalEngine) -> None:
    for generation in engine.generate(requests_for(tiny, choice_pattern(choices, lead=" "), 64)):
        assert generation.finished
        assert generation.text.strip() in choices
        assert all(0 < piece.probability <= 1 for piece in generation.pieces)


def test_every_row_has_its_own_pattern_and_limit(tiny: Checkpoint, engine: LocalEngine) -> None:
    listing = requests_for(tiny, hashtag_list_pattern(10, lead=" ", separator=", "), 7)
    choice = requests_for(tiny, choice_pattern(["coffee"], lead=" "), 64)
    mixed = engine.generate([request for pair in zip(listing, choice, strict=True) for request in pair])
    assert all(generation.text == " coffee" for generation in mixed[1::2])
    assert all(len(generation.pieces) <= 7 for generation in mixed[::2])
    for request, generation in zip(listing, mixed[::2], strict=True):
        alone = engine.generate([request])[0]
        assert (alone.text, alone.finished) == (generation.text, generation.finished)


def test_a_character_spread_over_tokens_counts_once(tiny: Checkpoint, engine: LocalEngine) -> None:
    generation = engine.generate(requests_for(tiny, choice_pattern(["🍺🍺"], lead=" "), 64)[:1])[0]
    assert generation.text == " 🍺🍺"
    assert len(generation.pieces) > 3


def test_bare_spaces_are_forbidden_only_where_there_is_another_way(tiny: Checkpoint, engine: LocalEngine) -> None:
    from dataclasses import replace

    only_way = replace(requests_for(tiny, choice_pattern(["🍺"], lead=" "), 64)[0], bare_spaces=False)
    free = replace(requests_for(tiny, hashtag_list_pattern(5, lead=" ", separator=", "), 20)[0], bare_spaces=False)
    beer, listed = engine.generate([only_way, free])
    assert beer.text == " 🍺"
    assert not any(piece.text.isspace() for piece in listed.pieces)


def test_an_unknown_pattern_is_an_error(tiny: Checkpoint, engine: LocalEngine) -> None:
    with pytest.raises(ValueError, match="pattern"):
        engine.generate(requests_for(tiny, "(unclosed", 5))
