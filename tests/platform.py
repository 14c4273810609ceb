"""A small platform: notes on four topics, and users who each read about one topic."""

import csv
import json
import random
from pathlib import Path

TOPICS = {
    "coffee": ("cold brew", "espresso", "grinder", "beans"),
    "beer": ("hops", "malt", "yeast", "lager"),
    "quantum": ("qubit", "gate", "noise", "spin"),
    "travel": ("train", "island", "hotel", "map"),
}
NOTES_A_TOPIC, USERS = 20, 160


def write_platform(folder: Path) -> None:
    """Writes notes.jsonl and events.csv, with the same content every time."""
    draw = random.Random(0)
    notes = []
    for topic, words in TOPICS.items():
        for number in range(NOTES_A_TOPIC):
            picked = draw.sample(words, 2)
            text = f"{picked[0]} and {picked[1]} number {number}"
            notes.append({"id": f"{topic}-{number}", "title": text, "hashtags": [topic, *picked], "category": topic})
    (folder / "notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes), encoding="utf-8")
    with (folder / "events.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("user", "note", "position"))
        for user in range(USERS):
            topic = list(TOPICS)[user % len(TOPICS)]
            seen = draw.sample([note["id"] for note in notes if note["category"] == topic], 8)
            writer.writerows((f"u{user}", note, position) for position, note in enumerate(seen))
