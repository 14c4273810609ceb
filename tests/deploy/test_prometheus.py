"""The scrape configuration, the recorded series and the alerts, by Prometheus' own tool; the runbook of the alerts."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import ROOT, run
from tests.prometheus import SHIPPED, write_configuration
from tests.requirements import need

RULES = SHIPPED / "rules" / "notellm.yml"
TESTS = sorted((SHIPPED / "tests").glob("*.yml"))
RUNBOOK = "docs/operations.md"
POINTS = ("Meaning", "Causes", "Look at", "Do")


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def alerts() -> list[dict[str, Any]]:
    return [rule for group in read(RULES)["groups"] for rule in group["rules"] if "alert" in rule]


@pytest.fixture(scope="module")
def promtool() -> str:
    need("promtool")
    return "promtool"


@pytest.mark.needs("promtool")
def test_the_rules_are_valid(promtool: str) -> None:
    assert f"{sum(len(group['rules']) for group in read(RULES)['groups'])} rules found" in run(
        promtool, "check", "rules", str(RULES)
    )


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("key", [None, "nlm_key"], ids=["open", "with keys"])
def test_the_scrape_configuration_is_valid(key: str | None, promtool: str, tmp_path: Path) -> None:
    checked = run(promtool, "check", "config", str(write_configuration(tmp_path, "127.0.0.1:8000", key=key)))
    assert "1 rule files found" in checked


def test_the_configurations_differ_by_the_key_only() -> None:
    plain, keyed = (read(SHIPPED / f"{name}.yml") for name in ("prometheus", "prometheus-keys"))
    assert keyed["scrape_configs"][0].pop("authorization")
    assert plain == keyed


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_only_then(file: Path, promtool: str) -> None:
    run(promtool, "test", "rules", str(file))


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet() -> None:
    cases = [case for file in TESTS for test in read(file)["tests"] for case in test["alert_rule_test"]]
    names = {alert["alert"] for alert in alerts()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_lost_scrapes_are_tested_at_the_intervals_that_are_used() -> None:
    """The chart's is that of the compose files; twice that is what the rules promise to bear."""
    interval = read(SHIPPED / "prometheus.yml")["global"]["scrape_interval"]
    assert read(ROOT / "deploy" / "helm" / "notellm" / "values.yaml")["serviceMonitor"]["interval"] == interval
    assert {test["interval"] for test in read(SHIPPED / "tests" / "lost_scrapes.yml")["tests"]} == {interval, "30s"}


def test_a_range_holds_four_scrapes_of_the_longest_interval() -> None:
    """Of two, one that is lost leaves no rate. The last value of a minute is there when one is lost."""
    expressions = [rule["expr"] for group in read(RULES)["groups"] for rule in group["rules"]]
    ranges = [found for expression in expressions for found in re.findall(r"(\w+)\([^()]*\[(\d+)m\]", expression)]
    assert len(ranges) == sum(expression.count("[") for expression in expressions)
    for function, minutes in ranges:
        assert int(minutes) >= (1 if function == "last_over_time" else 2), (function, minutes)


@pytest.mark.needs("promtool")
def test_a_rule_that_never_fires_fails_its_test(promtool: str, tmp_path: Path) -> None:
    """So that a green run means something."""
    for folder in ("rules", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "rules" / RULES.name).write_text(
        RULES.read_text().replace("(notellm_api_keys_stale[1m]) == 1", "(notellm_api_keys_stale[1m]) == 2")
    )
    file = tmp_path / "tests" / "keys.yml"
    file.write_text((SHIPPED / "tests" / "index_engine_keys.yml").read_text())
    with pytest.raises(AssertionError, match="NotellmApiKeysStale"):
        run(promtool, "test", "rules", str(file))


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_each_alert_says_what_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"{RUNBOOK}#{alert['alert'].lower()}"


def entries() -> dict[str, str]:
    """The runbook's text on each alert, by the heading."""
    _, *parts = re.split(r"^#+ (.+)\n", (ROOT / RUNBOOK).read_text(), flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    return {heading: text for heading, text in sections.items() if heading.startswith("Notellm")}


def test_the_runbook_has_an_entry_for_each_alert_and_no_other() -> None:
    assert list(entries()) == [alert["alert"] for alert in alerts()]
    for heading, text in entries().items():
        assert tuple(re.findall(r"^- \*\*(.+?)\*\*", text, flags=re.MULTILINE)) == POINTS, heading
