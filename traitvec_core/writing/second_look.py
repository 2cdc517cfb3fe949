"""The linter's findings go back to the writer, once."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.trait import parse_definition
from traitvec_core.validation.lint import Finding, lint
from traitvec_core.writing.asking import FaultyAnswersError, Terms
from traitvec_core.writing.rewording import ask_for_replacement, put_texts, replacements
from traitvec_core.writing.unfinished import UnfinishedDraft
from traitvec_core.writing.writer import Writer

__all__ = ["MOST_REQUESTS", "replace_weak"]

# One each for pairs, openings and questions.
MOST_REQUESTS = 3
_PLACE = re.compile(r"(instruction|scenarios|questions|eval_questions)\[(\d+)\]")


def replace_weak(
    raw: dict[str, Any],
    name: str,
    writer: Writer,
    draft: UnfinishedDraft,
    terms: Terms,
    say: Callable[[str], None],
    keys: Collection[str] = ("instruction", "scenarios", "questions", "eval_questions"),
) -> list[str]:
    """Ask once for other texts where the linter has findings, and keep those that have fewer.

    Nothing is lost: where the budget is spent, the writer's answers stay faulty or it does not
    answer, a line says so and the texts stay as they are.

    Args:
        raw: The definition's JSON; better texts are put into it.
        name: The trait's name.
        writer: The writer.
        draft: Keeps the new texts, and what each answer costs.
        terms: Budget and seed.
        say: Called with a line about progress.
        keys: Which of the definition's keys may change.

    Returns:
        The places that have new texts, such as `questions[3]`.
    """
    weak: dict[str, dict[int, str]] = {}
    for (key, number), findings in _by_place(_findings(raw, name)).items():
        if key in keys:
            reasons = [f"{finding.reason}. {finding.fix}" for finding in findings]
            weak.setdefault(key, {})[number] = " ".join(reasons)
    replaced: list[str] = []
    for item in replacements(parse_definition(_data(raw), "the draft"), weak):
        title = item.part.title
        if said := draft.given_up(item.part.name):
            say(said)
            continue
        try:
            new = ask_for_replacement(item, writer, draft, terms, say)
        except TraitvecError as error:
            # What comes after ";" is advice for a draft that is not whole.
            said = f"{str(error).partition('; ')[0]}; what the linter named stays as it is"
            if isinstance(error, FaultyAnswersError):
                draft.give_up(item.part.name, said)
            say(said)
            continue
        kept = [place for place, text in new.items() if _put_if_better(raw, name, place, text)]
        replaced += [f"{key}[{number}]" for key, number in kept]
        outcome = f"{len(kept)} kept, where the linter finds less" if kept else "none is better"
        say(f"{title}: {outcome}")
    return replaced


def _put_if_better(raw: dict[str, Any], name: str, place: tuple[str, int], text: Any) -> bool:
    key, number = place
    candidate = {**raw, key: deepcopy(raw[key])}
    put_texts(candidate, {key: {number: text}})
    before, after = _findings(raw, name), _findings(candidate, name)
    is_better = (
        _count(after, place) < _count(before, place)
        # A new text may repeat another one, which the linter then names instead.
        and len(after) < len(before)
        and _n_warnings(after) <= _n_warnings(before)
    )
    if is_better:
        raw[key] = candidate[key]
    return is_better


def _findings(raw: Mapping[str, Any], name: str) -> list[Finding]:
    return lint(parse_definition(_data(raw), "the draft"), name)


def _by_place(findings: Sequence[Finding]) -> dict[tuple[str, int], list[Finding]]:
    """Return the findings that name one pair, opening or question."""
    by_place: dict[tuple[str, int], list[Finding]] = {}
    for finding in findings:
        if match := _PLACE.match(finding.place):
            by_place.setdefault((match[1], int(match[2])), []).append(finding)
    return by_place


def _count(findings: Sequence[Finding], place: tuple[str, int]) -> int:
    return len(_by_place(findings).get(place, []))


def _n_warnings(findings: Sequence[Finding]) -> int:
    return sum(finding.severity == "warning" for finding in findings)


def _data(raw: Mapping[str, Any]) -> bytes:
    return json.dumps(raw, ensure_ascii=False).encode()
