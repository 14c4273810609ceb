"""Sends the running demo three kinds of requests about notes that it has never seen, and checks the answers."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from notellm.client import ClientError, NoteClient
from notellm.hashtags import MAX_CHARS, MAX_WORDS
from notellm.note import clean_hashtag, hashtag_key

NEIGHBOURS = 10


@dataclass(frozen=True)
class Question:
    """A note that was written for this check, and the site from which most of its neighbours should come."""

    id: str
    title: str
    content: str
    site: str | None

    @property
    def text(self) -> dict[str, str]:
        """The text that the model reads."""
        return {"title": self.title, "content": self.content}


QUESTIONS = [
    Question(
        "check-ai",
        "Why does my small neural network forget the first task after learning a second one?",
        "I train a classifier on one dataset and then on another. Accuracy on the first drops to chance. Which methods help?",
        "ai",
    ),
    Question(
        "check-beer",
        "My homebrewed stout has almost no head",
        "I bottled two weeks ago with the usual amount of sugar. The beer tastes fine, but the foam is gone in seconds.",
        "beer",
    ),
    Question(
        "check-coffee",
        "Espresso runs through in ten seconds, how do I slow it down?",
        "Same beans and dose as before, but the shot gushes and tastes sour. Should I grind finer or tamp harder?",
        "coffee",
    ),
    Question(
        "check-matheducators",
        "Students cancel terms across a sum, how do I teach them not to?",
        "In my algebra class many pupils simplify fractions by striking out numbers that are added. Which exercises cure that?",
        "matheducators",
    ),
    Question(
        "check-quantumcomputing",
        "How many physical qubits does one logical qubit need?",
        "I read about the surface code and error rates of a tenth of a percent. How does the number of qubits grow with distance?",
        "quantumcomputing",
    ),
    Question("check-zh", "周末在家做冷萃咖啡", "咖啡豆粗磨，冷水浸泡十二个小时，放进冰箱，第二天喝起来很顺滑。", None),
]


class Checks:
    """Counts the claims that hold and prints those that do not."""

    def __init__(self) -> None:
        self.held = 0
        self.failed: list[str] = []

    def that(self, holds: bool, claim: str) -> None:
        """Records whether a claim holds."""
        if holds:
            self.held += 1
        else:
            self.failed.append(claim)
            print(f"   FAILED: {claim}")


def check(client: NoteClient) -> int:
    """Runs all checks and returns the exit code."""
    checks = Checks()
    try:
        _embed(client, checks)
        for question in QUESTIONS:
            _neighbours(client, question, checks)
        _hashtags(client, checks)
    except ClientError as error:
        checks.that(False, f"every request is answered: {error}")
    finally:
        with suppress(ClientError):
            for question in QUESTIONS:
                client.delete(question.id)
    print(f"\n{checks.held} passed, {len(checks.failed)} failed")
    return 1 if checks.failed else 0


def _embed(client: NoteClient, checks: Checks) -> None:
    notes = [{"id": question.id, **question.text} for question in QUESTIONS]
    first = client.embed(notes)
    alone = [client.embed([note], store=False)[0] for note in notes]
    vectors, again = (np.array([one.vector for one in answers]) for answers in (first, alone))
    print(f"\nPOST /notes/embed: {len(notes)} unseen notes, {vectors.shape[1]} dimensions")
    checks.that(
        vectors.shape == (len(notes), client.model().dimensions),
        "each note has a vector of the right length",
    )
    checks.that(bool(np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)), "vectors have unit length")
    checks.that(
        float(np.abs(vectors - again).max()) <= 1e-5, "a note has the same vector alone, together with others, and again"
    )
    checks.that(all(one.status == "stored" for one in first), "every note is stored")


def sites_of_the_demo() -> set[str]:
    """The sites of the demo's notes. Only neighbours from these count, since somebody may have stored other notes meanwhile."""
    return {question.site for question in QUESTIONS if question.site}


def _neighbours(client: NoteClient, question: Question, checks: Checks) -> None:
    found = client.similar(question.id, limit=NEIGHBOURS).neighbours
    others = [note for note in found if note.category in sites_of_the_demo()]
    sites = Counter(note.category for note in others).most_common()
    print(f"\nGET /notes/{question.id}/similar   ({question.title})")
    for note in others[:3]:
        print(f"   {note.score:.3f} {note.category:17} {note.title[:80]}")
    print(f"   sites of the neighbours: {', '.join(f'{site} {count}' for site, count in sites)}")
    scores = [note.score for note in found]
    checks.that(len(found) == NEIGHBOURS, f"{question.id}: there are as many neighbours as requested")
    checks.that(question.id not in {note.id for note in found}, f"{question.id}: the note itself is not among them")
    checks.that(scores == sorted(scores, reverse=True), f"{question.id}: the nearest neighbours come first")
    if question.site:
        checks.that(bool(sites) and sites[0][0] == question.site, f"{question.id}: most neighbours are from {question.site}")


def _hashtags(client: NoteClient, checks: Checks) -> None:
    answers = client.suggest([question.text for question in QUESTIONS])
    categories = client.model().categories
    print("\nPOST /notes/hashtags   (a small model, trained briefly, and the hashtags of the nearest notes)")
    for question, note in zip(QUESTIONS, answers, strict=True):
        tags = [tag.hashtag for tag in note.hashtags]
        category = note.category.category if note.category else ""
        print(f"   {category:17} {', '.join(tags)}   ({question.title})")
        clean = all(clean_hashtag(tag) == tag and len(tag) <= MAX_CHARS and len(tag.split()) <= MAX_WORDS for tag in tags)
        distinct = len({hashtag_key(tag) for tag in tags}) == len(tags)
        checks.that(bool(tags) and clean and distinct, f"{question.id}: the list of hashtags is clean and not empty")
        checks.that(category in categories, f"{question.id}: the category is in the list")
