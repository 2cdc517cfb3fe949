"""The linter: each rule finds what is bad, and leaves alone what only looks like it."""

import json
import time
from pathlib import Path

import pytest

from tests.definitions.lint_cases import BAD, GOOD, definition
from traitvec_core.settings.trait_form import scaffold_definition
from traitvec_core.trait import parse_definition
from traitvec_core.validation.checks.definition import check_definition
from traitvec_core.validation.lint import lint

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT.parent / "shared" / "data" / "persona_vectors"
CASES = [(rule, index) for rule, cases in BAD.items() for index in range(len(cases))]
LOOK_ALIKES = [(rule, index) for rule, cases in GOOD.items() for index in range(len(cases))]


def test_the_worked_example_is_clean() -> None:
    assert lint(definition({})) == []


def test_every_rule_has_three_bad_and_three_good_cases() -> None:
    assert BAD.keys() == GOOD.keys()
    assert min(map(len, [*BAD.values(), *GOOD.values()])) >= 3


@pytest.mark.parametrize(("rule", "index"), CASES)
def test_bad(rule: str, index: int) -> None:
    findings = [each for each in lint(definition(BAD[rule][index])) if each.rule == rule]
    assert findings
    for finding in findings:
        assert finding.place.split("[")[0] in {
            "instruction", "questions", "eval_questions", "eval_prompt"
        }  # fmt: skip
        for text in (finding.reason, finding.fix):
            assert 0 < len(text) < 200
            assert "\n" not in text


@pytest.mark.parametrize(("rule", "index"), LOOK_ALIKES)
def test_good(rule: str, index: int) -> None:
    assert [each for each in lint(definition(GOOD[rule][index])) if each.rule == rule] == []


def test_places_are_those_of_the_file() -> None:
    bad = definition(
        {"pair": ("Flatter.", "Respond normally."), "eval_question": "Is tea healthy?"}
    )
    assert [(f.place, f.rule) for f in lint(bad)] == [
        ("instruction[0].neg", "neutral_pole"), ("eval_questions[0]", "yes_no_question"),
    ]  # fmt: skip


def test_warnings_come_first() -> None:
    for cases in BAD.values():
        severities = [finding.severity for finding in lint(definition(cases[0]))]
        assert severities == sorted(severities, key=lambda severity: severity != "warning")


def test_other_languages_get_no_finding_from_rules_that_read_words() -> None:
    german = {
        "instruction": [
            {"pos": f"Sei immer höflich, Nummer {i}.", "neg": f"Sei niemals höflich, Nummer {i}."}
            for i in range(10)
        ],
        "questions": ["Ist Tee gesund?", "Schlafen Katzen viel?", "Was kocht man im Winter?"],
        "eval_prompt": "Wie höflich? {question}\n{answer}\nAntworte mit JSON, von 0 bis 100.",
    }
    assert lint(parse_definition(json.dumps(german).encode(), "x"), "höflich") == []


def test_the_folder_names_a_trait_that_has_no_name() -> None:
    raw = json.loads(scaffold_definition("sycophancy", example=True))
    raw["questions"][0] = "Why are people polite?"
    raw.update({"name": "", "positive_label": "positive", "negative_label": "negative"})
    rules = {f.rule for f in lint(parse_definition(json.dumps(raw).encode(), "x"), "politeness")}
    assert "asks_for_trait" in rules


def test_the_check_warns_of_warnings_and_shows_hints_only() -> None:
    raw = json.loads(scaffold_definition("sycophancy", example=True))
    raw["questions"][0] = "Is tea healthy?"
    hinted = check_definition(json.dumps(raw).encode(), "x")
    assert (hinted.verdict, hinted.figures["hints"]) == ("pass", 1)
    assert [finding.rule for finding in hinted.findings] == ["yes_no_question"]
    raw["instruction"][0]["neg"] = "Respond normally."
    raw["instruction"][1]["neg"] = "You are a helpful assistant."
    warned = check_definition(json.dumps(raw).encode(), "x")
    assert warned.verdict == "warn"
    assert "instruction[0].neg" in warned.summary
    assert "1 more of neutral_pole" in warned.summary


def test_the_time_grows_with_the_length_of_a_definition_and_not_with_its_square() -> None:
    def seconds(n_lines: int) -> float:
        pair = {"pos": f"Be kind.{chr(10) * n_lines}Always.", "neg": "Be mean. Never."}
        raw = {
            "instruction": [pair] * 2,
            "questions": ["How?", "Why?"],
            "eval_prompt": "{question} {answer}",
        }
        definition = parse_definition(json.dumps(raw).encode(), "x")
        start = time.process_time()
        lint(definition, "kindness")
        return time.process_time() - start

    seconds(10)
    # A square would take 256 times as long.
    assert seconds(19_200) < 64 * max(0.001, min(seconds(1200) for _ in range(3)))


@pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason=f"the published definitions are not here: {PUBLISHED}"
)
def test_published_definitions_get_the_findings_that_the_docs_count() -> None:
    counts: dict[str, int] = {}
    for path in sorted(PUBLISHED.glob("*traits/*.json")):
        for finding in lint(parse_definition(path.read_bytes(), path.name), path.stem):
            counts[finding.rule] = counts.get(finding.rule, 0) + 1
    docs = (ROOT / "docs" / "creating_traits.md").read_text(encoding="utf-8")
    for rule, count in counts.items():
        assert f"| `{rule}` | {count} |" in docs, rule
