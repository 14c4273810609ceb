"""Links out of `docs/`."""

import pytest

from deploy.site.links import outside_code, without_links_out


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Read the [changelog](../CHANGELOG.md).", "Read the changelog (`CHANGELOG.md`)."),
        ("[CHANGELOG.md](../CHANGELOG.md)", "`CHANGELOG.md`"),
        ("[`training/config.py`](../training/config.py)", "`training/config.py`"),
        ("[rules](../CONTRIBUTING.md#rules)", "rules (`CONTRIBUTING.md`)"),
        ("[files](../training/configs)", "files (`training/configs`)"),
        (
            "[api.md](api.md#keys), [paper](https://example.com/../x)",
            "[api.md](api.md#keys), [paper](https://example.com/../x)",
        ),
        ("```text\n[a](../a)\n```\n[a](../a)", "```text\n[a](../a)\n```\n`a`"),
    ],
)
def test_without_a_repository_they_become_text(written: str, shown: str) -> None:
    assert without_links_out(written, "data.md", None) == shown


def test_with_one_they_lead_there() -> None:
    shown = without_links_out("[rules](../CONTRIBUTING.md#rules)", "data.md", "https://example.com/notellm/")
    assert shown == "[rules](https://example.com/notellm/blob/main/CONTRIBUTING.md#rules)"


def test_a_page_in_a_folder_keeps_its_links_to_other_pages() -> None:
    written = "[evaluation](../evaluation.md) and [the README](../../README.md)"
    assert without_links_out(written, "results/README.md", "") == "[evaluation](../evaluation.md) and the README (`README.md`)"


def test_code_stays_as_it_is() -> None:
    assert outside_code("a\n```sh\na\n```\na\n  ```\n  a\n  ```\na", str.upper) == "A\n```sh\na\n```\nA\n  ```\n  a\n  ```\nA"
