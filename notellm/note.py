"""`NoteText`, the part of a note that the model reads, and `Note`, which adds the id and the other fields that the index stores."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from datetime import UTC, date, datetime
from itertools import islice
from typing import Annotated, Any

import regex
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from notellm.errors import NoteError

MAX_TITLE_CHARS = 2_000
MAX_CONTENT_CHARS = 50_000
MAX_HASHTAGS = 100
MAX_HASHTAG_CHARS = 100

_TAG_CHARACTER = r"\p{L}\p{M}\p{N}\p{Pc}\p{Extended_Pictographic}\u200c\u200d\ufe0f"
# `#tag` after a space, a CJK character, another tag (`#a#b`, `#a##b#`) or at the start, never inside a word, an address or an
# entity (`C#`, `/#top`, `&#39;`). The closing `#` of Weibo and the `[话题]#` of Xiaohongshu belong to the markup.
_INLINE_HASHTAG = regex.compile(
    rf"(?:(?<![A-Za-z0-9_&/#＃])|(?<=[\w#＃])\G)[#＃](?=[{_TAG_CHARACTER}]*[\p{{L}}\p{{Extended_Pictographic}}])"
    rf"(?P<tag>[{_TAG_CHARACTER}]{{1,{MAX_HASHTAG_CHARS}}}+)(?:\[话题\])?(?:[#＃](?![{_TAG_CHARACTER}]))?"
)
# Control characters and invisible separators carry no meaning. Joiners (U+200C/D) are kept: they shape emoji and Persian and Indic words.
_INVISIBLE = regex.compile(r"[[\p{Cc}\p{Cs}\u00ad\u200b\u2060\ufeff]--[\n\t]]", regex.V1)
# Keyboards write the same emoji with or without a variation selector (U+FE0E/F).
_NOT_IN_KEY = regex.compile(r"[[\p{White_Space}\p{C}\p{P}\ufe0e\ufe0f]--[#]]", regex.V1)
_BLANK = regex.compile(r"[\p{White_Space}\p{C}\u115f\u1160\u2800\u3164]*")
_DATE = regex.compile(r"\s*[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")
# An address with an unescaped `+` arrives with a space.
_LOST_PLUS = regex.compile(r"[0-9]:[0-9]{2}(?:[.,][0-9]+)? [0-9]{2}:?[0-9]{2}$")
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def clean_text(text: str) -> str:
    """`text` without control characters, invisible separators and surrounding white space."""
    return str(_INVISIBLE.sub("", text.replace("\r\n", "\n"))).strip()


def clean_hashtag(text: str) -> str:
    """The form in which a hashtag is shown: no `#` markup, single spaces; empty if nothing else is left."""
    tag = " ".join(clean_text(text).split())
    while tag.startswith(("#", "＃")):  # for `# #tag`: cleaning a clean hashtag must not change it
        tag = tag.strip("#＃").removesuffix("[话题]").strip()
    return "" if _BLANK.fullmatch(tag) or not hashtag_key(tag) else tag


def hashtag_key(tag: str) -> str:
    """The form in which hashtags are compared: `King Glory`, `king-glory` and `#kingglory` are one hashtag."""
    return str(_NOT_IN_KEY.sub("", unicodedata.normalize("NFKC", tag).casefold().removeprefix("#")))


def unique_hashtags(tags: Iterable[str]) -> tuple[str, ...]:
    """The hashtags without empty ones and repetitions, in the order and spelling of their first occurrence."""
    seen: dict[str, str] = {}
    for tag in map(clean_hashtag, tags):
        if tag:
            seen.setdefault(hashtag_key(tag), tag)
    return tuple(seen.values())


def inline_hashtags(text: str) -> tuple[str, ...]:
    """The hashtags written as `#tag` inside `text`; at most the first 100."""
    matches = islice(_INLINE_HASHTAG.finditer(text), 10 * MAX_HASHTAGS)
    return unique_hashtags(match["tag"] for match in matches)[:MAX_HASHTAGS]


def without_inline_hashtags(text: str) -> str:
    """`text` without its `#tag` markup. Plain words stay, even if they equal a hashtag."""
    stripped = _INLINE_HASHTAG.sub(" ", text)
    return "\n".join(" ".join(line.split()) for line in stripped.splitlines()).strip()


def _utc(moment: datetime) -> datetime:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError as error:
        raise NoteError("must lie between 1970 and 2200") from error
    if not _EARLIEST <= moment < _LATEST:
        raise NoteError("must lie between 1970 and 2200")
    return moment


def _iso_8601(value: object) -> object:
    """Pydantic also takes numbers, and text of digits, for seconds since 1970: 20240131 would become a day in 1970."""
    if isinstance(value, str) and _LOST_PLUS.search(value):
        raise PydanticCustomError("datetime_parsing", "has a space before its time zone: in an address, write + as %2B")
    if isinstance(value, datetime | date) or (isinstance(value, str) and _DATE.match(value)):
        return value
    raise PydanticCustomError("datetime_parsing", "must be ISO 8601 with a time zone, such as 2026-01-31T08:00:00Z")


def _not_blank(text: str) -> str:
    if _BLANK.fullmatch(text):
        raise NoteError("is blank: leave the field out instead")
    return text


CleanText = AfterValidator(clean_text)
HashtagText = Annotated[str, Field(max_length=MAX_HASHTAG_CHARS)]
UtcDatetime = Annotated[AwareDatetime, BeforeValidator(_iso_8601), AfterValidator(_utc)]
NoteId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._:~@-]{0,127}$",
        description="The platform's own id: up to 128 letters, digits or characters of `. _ : ~ @ -`. `.`, `:`, `~` and `@` cannot be "
        "the first.",
        examples=["coffee-1024"],
    ),
]

NoteVersion = Annotated[StrictInt, Field(ge=0, lt=2**53)]


class NoteText(BaseModel):
    """The part of a note that the model reads. Empty and repeated hashtags are dropped; a note without any text is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Annotated[str, Field(max_length=MAX_TITLE_CHARS), CleanText] = ""
    content: Annotated[str, Field(max_length=MAX_CONTENT_CHARS), CleanText] = ""
    hashtags: Annotated[tuple[HashtagText, ...], Field(max_length=MAX_HASHTAGS), AfterValidator(unique_hashtags)] = Field(
        default=(),
        description="The note's hashtags, with or without `#`. Those written inline as `#tag` are found too.",
    )

    @model_validator(mode="after")
    def _has_text(self) -> "NoteText":
        if not self.hashtags and _BLANK.fullmatch(self.title) and _BLANK.fullmatch(self.content):
            raise NoteError("a note needs a title, content or hashtags: all three are empty")
        return self

    @property
    def all_hashtags(self) -> tuple[str, ...]:
        """The given hashtags, then those written inline in title and content; at most 100 in all."""
        inline = (*inline_hashtags(self.title), *inline_hashtags(self.content))
        return unique_hashtags((*self.hashtags, *inline))[:MAX_HASHTAGS] if inline else self.hashtags

    @property
    def plain_title(self) -> str:
        """The title without `#tag` markup."""
        return without_inline_hashtags(self.title)

    @property
    def plain_content(self) -> str:
        """The content without `#tag` markup."""
        return without_inline_hashtags(self.content)

    @property
    def plain_text(self) -> str:
        """Title and content without `#tag` markup, one per line."""
        return f"{self.plain_title}\n{self.plain_content}"

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of title, content and hashtags, on which the embedding depends."""
        return self._hash(self.all_hashtags)

    def _hash(self, hashtags: tuple[str, ...]) -> str:
        read = json.dumps([self.title, self.content, list(hashtags)], ensure_ascii=False)
        return hashlib.sha256(read.encode()).hexdigest()


class Note(NoteText):
    """A note of the platform."""

    id: NoteId
    category: Annotated[str, Field(max_length=200), CleanText, AfterValidator(_not_blank)] | None = Field(
        default=None, description="The platform's own category. Stored and filterable; the model does not read it."
    )
    created_at: UtcDatetime | None = Field(default=None, description="When the note was published, with a time zone.")
    version: NoteVersion | None = Field(
        default=None,
        description="The client's own version. A write with a lower version than the stored one is skipped.",
    )

    def payload(self) -> dict[str, Any]:
        """The note as the index stores it: JSON values, `hashtag_keys` for filtering, `content_hash` for change detection."""
        tags = self.all_hashtags
        stored = self.model_dump(mode="json") | {"hashtags": list(tags)}
        return stored | {"hashtag_keys": list(map(hashtag_key, tags)), "content_hash": self._hash(tags)}
