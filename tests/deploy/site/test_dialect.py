"""What Python-Markdown reads differently. `tests/deploy/test_site.py` compares all pages with what a code host shows."""

import pytest

from deploy.site.dialect import for_python_markdown


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("text:\n- a\n- b", "text:\n\n- a\n- b"),
        ("1. a\n   more\n   - b\n     more\n2. c", "1. a\n    more\n    - b\n        more\n2. c"),
        ("- a\n\n  more\n- b", "- a\n\n    more\n\n- b"),
        ("- a\n  ```sh\n    x\n  ```\n  more", "- a\n    ```sh\n      x\n    ```\n\n    more"),
        ("- a\nlazy\n\ntext", "- a\n    lazy\n\ntext"),
        ("```text\n- a\n  b\n```", "```text\n- a\n  b\n```"),
        ("| a |\n|---|\n| `x\\|y` and `<z\\|>` |", "| a |\n|---|\n| <code>x&#124;y</code> and <code>&lt;z&#124;&gt;</code> |"),
    ],
    ids=["before", "nested", "paragraphs", "code", "lazy", "no-list", "bars"],
)
def test_lists_and_tables(written: str, read: str) -> None:
    assert for_python_markdown(written) == read
