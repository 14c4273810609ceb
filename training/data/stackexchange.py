"""Reads a Stack Exchange data dump: questions are notes, tags are hashtags, the site is the category.

Format: one directory per site with `Posts.xml` and, if the dump has them, `Comments.xml`, `Votes.xml`, `PostLinks.xml` and a
tab-separated `users_min.tsv` (Id, AccountId, DisplayName). The behaviour log records who asked, answered, commented on or favourited a
question, and which questions the users linked to each other. The dumps do not say who set a link, so each link is a user of its own.
"""

import csv
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, iterparse

from notellm.note import MAX_CONTENT_CHARS, MAX_TITLE_CHARS, Note
from training.errors import DataError

_QUESTION, _ANSWER, _FAVOURITE = "1", "2", "5"
_MORE = {_QUESTION: ("Title", "Body", "Tags"), _ANSWER: ("ParentId",)}


@dataclass(frozen=True)
class Event:
    """What a user did with a note, and when."""

    user: str
    note: str
    event: str
    time: datetime


@dataclass(frozen=True)
class Attribution:
    """The attribution that CC BY-SA requires: the question's address, its author's name and profile."""

    note: str
    url: str
    author: str
    author_url: str


class StackExchangeSite:
    """One site's dump.

    Args:
        directory: its name is that of the site, `coffee` for coffee.stackexchange.com.

    Raises:
        DataError: there is no `Posts.xml`, or a file does not have the format of a dump.
    """

    def __init__(self, directory: Path) -> None:
        self.name = directory.name
        self._directory = directory
        self._address = f"https://{self.name}.stackexchange.com"
        self._posts = list(_rows(directory / "Posts.xml", "PostTypeId", "CreationDate"))
        for row in self._posts:
            _require(directory / "Posts.xml", row, *_MORE.get(row["PostTypeId"], ()))

    def notes(self) -> Iterator[Note]:
        """The questions, oldest first, with their bodies as plain text."""
        for row in self._questions.values():
            yield Note(
                id=self._note_id(row["Id"]),
                title=row["Title"][:MAX_TITLE_CHARS],
                content=html_to_text(row["Body"])[:MAX_CONTENT_CHARS],
                hashtags=tuple(row["Tags"].strip("<>|").replace("|", "><").split("><")),
                category=self.name,
                created_at=_time(row["CreationDate"]),
            )

    def attributions(self) -> Iterator[Attribution]:
        """One attribution for each of `notes`, in the same order."""
        for row in self._questions.values():
            user = row.get("OwnerUserId", "")
            name = row.get("OwnerDisplayName") or self._display_names.get(user) or (f"user {user}" if user else "deleted user")
            profile = f"{self._address}/users/{user}" if user else self._address
            yield Attribution(self._note_id(row["Id"]), f"{self._address}/questions/{row['Id']}", name, profile)

    def events(self) -> Iterator[Event]:
        """The behaviour log, in order of time. Each site has its own numbers for users."""
        yield from sorted(self._unsorted_events(), key=lambda event: (event.time, event.user, event.note, event.event))

    def _unsorted_events(self) -> Iterator[Event]:
        for row in self._posts:
            if row["PostTypeId"] == _QUESTION:
                yield from self._event(row.get("OwnerUserId"), row["Id"], "ask", row)
            elif row["PostTypeId"] == _ANSWER:
                yield from self._event(row.get("OwnerUserId"), row["ParentId"], "answer", row)
        for row in self._optional_rows("Comments.xml", "PostId", "CreationDate"):
            yield from self._event(row.get("UserId"), row["PostId"], "comment", row)
        for row in self._optional_rows("Votes.xml", "VoteTypeId", "PostId", "CreationDate"):
            if row["VoteTypeId"] == _FAVOURITE:
                yield from self._event(row.get("UserId"), row["PostId"], "favourite", row)
        for row in self._optional_rows("PostLinks.xml", "PostId", "RelatedPostId", "CreationDate"):
            yield from self._link(row)

    def _link(self, row: dict[str, str]) -> Iterator[Event]:
        """A link as two events, if both of its questions are in the dump."""
        one, other = (self._question_of.get(row[name]) for name in ("PostId", "RelatedPostId"))
        if one and other and one != other:
            for question in (one, other):
                yield Event(f"{self.name}-link-{row['Id']}", self._note_id(question), "link", _time(row["CreationDate"]))

    def _event(self, user: str | None, post: str, event: str, row: dict[str, str]) -> Iterator[Event]:
        question = self._question_of.get(post)
        if user and int(user) > 0 and question:
            yield Event(f"{self.name}-{user}", self._note_id(question), event, _time(row["CreationDate"]))

    @cached_property
    def _questions(self) -> dict[str, dict[str, str]]:
        return {row["Id"]: row for row in self._posts if row["PostTypeId"] == _QUESTION}

    @cached_property
    def _question_of(self) -> dict[str, str]:
        """The id of each post's question by the id of the post, for posts whose question is in the dump."""
        parents = {row["Id"]: row["ParentId"] for row in self._posts if row["PostTypeId"] == _ANSWER}
        owners = {question: question for question in self._questions} | parents
        return {post: question for post, question in owners.items() if question in self._questions}

    @cached_property
    def _display_names(self) -> dict[str, str]:
        path = self._directory / "users_min.tsv"
        if not path.exists():
            return {}
        with path.open(encoding="utf-8", newline="") as stream:
            return {row["Id"]: row["DisplayName"] for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)}

    def _optional_rows(self, file: str, *required: str) -> Iterator[dict[str, str]]:
        path = self._directory / file
        return _rows(path, *required) if path.exists() else iter(())

    def _note_id(self, question: str) -> str:
        return f"{self.name}-{question}"


def html_to_text(html: str) -> str:
    """The text of a post's HTML body, one line per paragraph, without code blocks."""
    with warnings.catch_warnings(category=MarkupResemblesLocatorWarning, action="ignore"):
        soup = BeautifulSoup(html, "html.parser")
    for block in soup(["pre", "script", "style"]):
        block.decompose()
    lines = (" ".join(line.split()) for line in soup.get_text().splitlines())
    return "\n".join(line for line in lines if line)


def _rows(path: Path, *required: str) -> Iterator[dict[str, str]]:
    try:
        with path.open("rb") as stream:
            for _, element in iterparse(stream):
                if element.tag == "row":
                    row = dict(element.attrib)
                    _require(path, row, "Id", *required)
                    yield row
                    element.clear()
    except (OSError, ParseError, DefusedXmlException) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _require(path: Path, row: dict[str, str], *names: str) -> None:
    """Refuses a row that lacks one of the attributes, or whose time is invalid."""
    missing = [name for name in names if name not in row]
    if missing:
        raise DataError(f"{path}, row {row.get('Id', 'without Id')}: {', '.join(missing)} is missing")
    if "CreationDate" in names:
        try:
            _time(row["CreationDate"])
        except ValueError as error:
            raise DataError(f"{path}, row {row['Id']}: CreationDate {row['CreationDate']!r} is not an ISO 8601 time") from error


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
