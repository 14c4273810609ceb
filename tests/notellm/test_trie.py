"""`TokenTrie` against the list that it stands for."""

from hypothesis import given, strategies as st

from notellm.trie import TokenTrie

EOS = 0
SEQUENCES = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), min_size=1, max_size=8)


@given(SEQUENCES, st.lists(st.integers(0, 3), max_size=5))
def test_following_is_what_some_sequence_goes_on_with(sequences: list[list[int]], written: list[int]) -> None:
    whole = [[*sequence, EOS] for sequence in sequences]
    wanted = {one[len(written)] for one in whole if one[: len(written)] == written and len(one) > len(written)}
    trie = TokenTrie(sequences, EOS)
    assert set(trie.following(written)) == (wanted or {EOS})
    assert trie.longest == max(map(len, whole))


def test_an_empty_trie_ends_at_once() -> None:
    assert TokenTrie([], EOS).following([]) == [EOS]


@given(SEQUENCES, st.data())
def test_paths_are_the_ways_on_if_they_are_few(sequences: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(sequences))
    written = tuple(chosen[: data.draw(st.integers(0, len(chosen)))])
    going = {tuple(one) for one in sequences if tuple(one[: len(written)]) == written}
    ends = {one for one in going if not any(other[: len(one)] == one and other != one for other in going)}
    tokens = len({one[:end] for one in going for end in range(len(written) + 1, len(one) + 1)})
    trie = TokenTrie(sequences, EOS)
    found = trie.paths(written, tokens)
    assert len(found) == len(set(found))
    assert set(found) == ends
    if tokens:
        assert trie.paths(written, tokens - 1) == [written]
