"""Notes of a small platform, and some that try to be more than text."""

from typing import Any

SCRIPT = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><b>bold</b>'
LONG = "A title that does not end " * 77  # 2,002 characters, cut to what the service takes
ARABIC = "كيف أصنع قهوة باردة في المنزل؟"
TOPICS = {
    "coffee": ("Cold brew number {} tastes sour", "Steeped for {} hours in cold water.", ("coldbrew", "coffee")),
    "beer": ("Which hops for batch {}?", "Bitter after {} days of brewing.", ("hops", "beer")),
    "quantum computing": ("A noisy gate on qubit {}", "The error grows after {} steps.", ("qubit", "noise")),
}
NOTES: list[dict[str, Any]] = [
    {
        "id": f"{topic[:1]}{number}", "title": title.format(number), "content": text.format(number), "hashtags": list(hashtags),
        "category": topic, "created_at": f"2026-0{1 + number % 9}-01T00:00:00Z",
    }
    for topic, (title, text, hashtags) in TOPICS.items()
    for number in range(30)
] + [
    {"id": "script", "title": SCRIPT, "content": SCRIPT, "hashtags": ["<i>tag</i>"], "category": "coffee"},
    {"id": "long", "title": LONG[:2000], "category": "beer"},
    {"id": "arabic", "title": ARABIC, "content": "שלום עולם", "hashtags": ["قهوة"], "category": "coffee"},
    {"id": "a.b:c~1@x", "content": "A note without a title"},
]  # fmt: skip
