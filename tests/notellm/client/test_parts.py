from hypothesis import given, strategies as st

from notellm.client.parts import MOST_BYTES, Part, rounds

lists = st.lists(st.sampled_from("abcdef"), max_size=30)


@given(lists, st.integers(1, 5))
def test_all_notes_are_sent_in_order_and_the_later_of_an_id_in_a_later_round(ids: list[str], most: int) -> None:
    made = rounds([{"id": one, "title": str(place)} for place, one in enumerate(ids)], most)
    sent = [(place, note) for parts in made for part in parts for place, note in zip(part.places, part.notes, strict=True)]
    assert [place for place, _ in sent] == list(range(len(ids)))
    assert [note["id"] for _, note in sent] == ids
    for parts in made:
        together = [note["id"] for part in parts for note in part.notes]
        assert len(set(together)) == len(together)
        assert all(1 <= len(part.notes) <= most for part in parts)
    assert len(made) <= 1 + len(ids) - len(set(ids))


def test_notes_without_ids_are_never_the_same() -> None:
    assert [[part.places for part in parts] for parts in rounds([{"title": "x"}] * 5, 2)] == [[[0, 1], [2, 3], [4]]]


def test_large_notes_are_sent_apart() -> None:
    large = {"content": "x" * (MOST_BYTES // 2)}
    assert [[part.places for part in parts] for parts in rounds([large, large, {"content": "y"}], 64)] == [[[0], [1, 2]]]


def test_a_part_has_halves_unless_it_is_one_note() -> None:
    part = Part([3, 4, 5], [{"id": "c"}, {"id": "d"}, {"id": "e"}])
    assert [(half.places, half.notes) for half in part.halves()] == [([3], [{"id": "c"}]), ([4, 5], [{"id": "d"}, {"id": "e"}])]
    assert Part([3], [{"id": "c"}]).halves() == []
