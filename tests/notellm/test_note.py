import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings, strategies as st
from pydantic import ValidationError

from notellm import Note, NoteText
from notellm.note import clean_hashtag, clean_text, hashtag_key, inline_hashtags, unique_hashtags, without_inline_hashtags


@pytest.mark.parametrize(
    ("text", "tags", "rest"),
    [
        ("I love #Paris in spring #travel", ("Paris", "travel"), "I love in spring"),
        ("#a#b #c", ("a", "b", "c"), ""),
        ("#美食##探店# ok #a##b ##c", ("美食", "探店", "a", "b"), "ok ##c"),
        ("今天 #美食 #旅行[话题]# ok #探店#", ("美食", "旅行", "探店"), "今天 ok"),
        ("＃日本 好き", ("日本",), "好き"),
        ("#نمبر ایک", ("نمبر",), "ایک"),
        ("#नमस्ते दुनिया", ("नमस्ते",), "दुनिया"),
        ("#👨‍👩‍👧 day", ("👨‍👩‍👧",), "day"),
        ("#web3 in #2024年", ("web3", "2024年"), "in"),
        ("C# and F#minor, #1, &#39; http://a.b/#top ## x", (), "C# and F#minor, #1, &#39; http://a.b/#top ## x"),
        ("two\n\n#lines here", ("lines",), "two\n\nhere"),
        ("café #café", ("café",), "café"),
    ],
)
def test_inline_hashtags(text: str, tags: tuple[str, ...], rest: str) -> None:
    assert inline_hashtags(text) == tags
    assert without_inline_hashtags(text) == rest


@pytest.mark.parametrize(
    ("tag", "key"),
    [("King Glory", "kingglory"), ("#kingglory", "kingglory"), ("king-glory", "kingglory"), ("C#", "c#"), ("c++", "c++"),
     ("Node.js", "nodejs"), ("ＡＩ", "ai"), ("Straße", "strasse"), ("旅行", "旅行"), ("🎉", "🎉"),
     ("☕\ufe0f", "☕")],
)  # fmt: skip
def test_hashtag_key(tag: str, key: str) -> None:
    assert hashtag_key(tag) == key


def test_variants_of_a_hashtag_are_one_hashtag() -> None:
    assert unique_hashtags(["#King Glory", "king-glory", "#kingglory#", "", "#", "\u200b", " c# ", "C"]) == (
        "King Glory",
        "c#",
        "C",
    )


@pytest.mark.parametrize("tag", ["", "#", "##", " ", "\u200b", "\u2060\ufeff", "!!!", "…", "\u3000"])
def test_nothing_is_left_of_an_empty_hashtag(tag: str) -> None:
    assert clean_hashtag(tag) == ""


# Whatever the markup of hashtags is made of, and what goes with it: in texts of nothing else, everything meets everything.
_markup = st.lists(st.sampled_from(["#", "＃", " ", "\u3000", "\u200b", "[话题]", "x"]), max_size=7).map("".join)
_thoroughly = settings(max_examples=500)


@_thoroughly
@example("# #x")
@example("＃ [话题]#＃x[话题]#")
@given(_markup)
def test_cleaning_a_hashtag_twice_is_cleaning_it_once(text: str) -> None:
    tag = clean_hashtag(text)
    assert clean_hashtag(tag) == tag
    assert not tag.startswith(("#", "＃", " "))
    assert clean_text(clean_text(text)) == clean_text(text)


@_thoroughly
@example("#x##x", "", [""])
@given(_markup, _markup, st.lists(_markup, min_size=1, max_size=3))
def test_markup_of_any_kind_is_read_back_as_it_was_stored(title: str, content: str, hashtags: list[str]) -> None:
    note = Note(id="a", title=f"t {title}", content=content, hashtags=tuple(hashtags), category=f"k{title}")
    payload = note.payload()
    assert Note.model_validate({name: payload[name] for name in Note.model_fields if name in payload}).payload() == payload
    assert not inline_hashtags(note.plain_title)
    assert not inline_hashtags(note.plain_content)


def test_inline_hashtags_join_the_given_ones() -> None:
    note = NoteText(title="Cold brew #ColdBrew", content="#iced is best", hashtags=("cold brew", "coffee"))
    assert note.all_hashtags == ("cold brew", "coffee", "iced")
    assert note.plain_title == "Cold brew"
    assert note.plain_content == "is best"


@pytest.mark.parametrize("empty", ["", " ", "\n\t", "\u200b", "\u200b\ufeff ", "\u3164", "\x00\x07", "\u202e"])
def test_a_note_without_text_is_refused(empty: str) -> None:
    with pytest.raises(ValidationError, match="a note needs a title, content or hashtags"):
        NoteText(title=empty, content=empty, hashtags=("#", empty))


# Numbers and texts of digits that are no ISO 8601, although Pydantic takes most of them for seconds since 1970.
NO_TIMES = [
    0, 1767225600, 1767225600000, 3.5, 20240131, 10**30, True,
    "20240131", "2024", "1767225600", " 1767225600 ", "1767225600.5", "1e9", "-1", "+1767225600", "1_767_225_600", "2024-1-31T08:00Z",
    "20240131T080000Z", "08:00Z", "yesterday", "", "2026-11-01T00:00:00 08:00",
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("title", "x" * 2001, "string_too_long"),
        ("title", 7, "string_type"),
        ("title", "\ud800", "string_unicode"),
        ("content", "x" * 50_001, "string_too_long"),
        ("hashtags", ["x"] * 101, "too_long"),
        ("hashtags", ["x" * 101], "string_too_long"),
        ("hashtags", "coffee", "tuple_type"),
        ("category", "", "value_error"),
        ("category", " \u200b", "value_error"),
        ("version", -1, "greater_than_equal"),
        ("version", True, "int_type"),
        ("version", 2**53, "less_than"),
        ("created_at", "2026-01-01T00:00:00", "timezone_aware"),
        ("created_at", "0001-01-01T00:00:00+14:00", "value_error"),
        ("created_at", "2200-01-01T00:00:00Z", "value_error"),
        *[("created_at", value, "datetime_parsing") for value in NO_TIMES],
        ("id", "", "string_pattern_mismatch"),
        ("id", "a/b", "string_pattern_mismatch"),
        ("id", "..", "string_pattern_mismatch"),
        ("id", "a\n", "string_pattern_mismatch"),
        ("id", "x" * 129, "string_pattern_mismatch"),
        ("colour", "red", "extra_forbidden"),
    ],
)
def test_a_broken_rule_is_named_with_its_field(field: str, value: object, rule: str) -> None:
    with pytest.raises(ValidationError) as error:
        Note.model_validate({"id": "a", "title": "t", field: value})
    assert [(item["loc"][0], item["type"]) for item in error.value.errors()] == [(field, rule)]


def test_content_hash_depends_on_what_the_model_reads_and_on_nothing_else() -> None:
    note = Note(id="a", title="t", content="c", hashtags=("x",))
    same = Note(
        id="b",
        title="t",
        content="c",
        hashtags=("x",),
        category="k",
        version=3,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert note.content_hash == same.content_hash
    others: list[dict[str, object]] = [{"title": "T"}, {"content": "d"}, {"hashtags": ("y",)}, {"title": "tc", "content": ""}]
    assert len({note.content_hash, *(note.model_copy(update=change).content_hash for change in others)}) == len(others) + 1


def test_payload_can_be_read_back_as_the_same_note() -> None:
    note = Note(id="a", title="t #inline", hashtags=("King Glory",), created_at=datetime(2026, 1, 1, tzinfo=UTC), version=2)
    payload = note.payload()
    assert payload["hashtag_keys"] == ["kingglory", "inline"]
    again = Note.model_validate({name: payload[name] for name in Note.model_fields if name in payload})
    assert again.payload() == payload


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.datetimes(timezones=st.timezones()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*Note.model_fields, "other"]), _anything), st.booleans())
def test_anything_at_all_is_a_note_or_a_validation_error(fields: dict[str, object], strings: bool) -> None:
    if strings:
        fields |= {"id": "a", "title": f"t{fields.get('title')}"}
    try:
        note = Note.model_validate(fields)
    except ValidationError:  # nothing else may be raised
        return
    payload = note.payload()
    assert Note.model_validate({name: payload[name] for name in Note.model_fields if name in payload}).payload() == payload


_characters = st.text(st.characters(), max_size=300)  # lone surrogates, too


@given(_characters, _characters, st.lists(st.text(st.characters(), max_size=30), max_size=5))
def test_any_text_is_a_note_or_a_validation_error(title: str, content: str, hashtags: list[str]) -> None:
    try:
        note = NoteText(title=title, content=content, hashtags=tuple(hashtags))
    except ValidationError:
        return
    assert all(clean_hashtag(tag) == tag for tag in note.hashtags)
    assert len({hashtag_key(tag) for tag in note.all_hashtags}) == len(note.all_hashtags)
    assert not inline_hashtags(note.plain_title)
    assert NoteText.model_validate_json(note.model_dump_json()) == note
    assert len(note.content_hash) == 64


@pytest.mark.parametrize(
    "note_id", ["_x", "-x", "-", "_", "7", "V1StGXR8_Z5jdHi6B-myT", "-9bZkp7q19f", "a.b:c~d@e-f_g", "x" * 128]
)
def test_ids_as_platforms_make_them(note_id: str) -> None:
    """Those of nanoid and YouTube may begin with `-` and `_`."""
    assert Note(id=note_id, title="t").id == note_id


@pytest.mark.parametrize("note_id", [".x", ":x", "~x", "@x", "ä", "a b", "a/b"])
def test_ids_that_are_refused(note_id: str) -> None:
    with pytest.raises(ValidationError, match="string_pattern_mismatch"):
        Note(id=note_id, title="t")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-01T08:30Z",
        "2026-11-01T08:30:00.123456789Z",
        "2026-11-01 08:30:00+0000",
        "2026-11-01T08:30:00,5Z",
        "2026-11-01t16:30:00+08:00",
    ],
)
def test_times_as_platforms_write_them(text: str) -> None:
    note = Note.model_validate({"id": "a", "title": "t", "created_at": text})
    assert note.created_at is not None
    assert note.created_at.replace(microsecond=0) == datetime(2026, 11, 1, 8, 30, tzinfo=UTC)


def test_a_time_without_its_zone_or_its_plus_says_so() -> None:
    for text, message in (("2026-11-01", "timezone info"), ("2026-11-01T00:00:00 08:00", "in an address, write + as %2B")):
        with pytest.raises(ValidationError, match=re.escape(message)):
            Note.model_validate({"id": "a", "title": "t", "created_at": text})
