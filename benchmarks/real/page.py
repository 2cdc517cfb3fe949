"""Writes docs/results.md from the reports that `make real` made."""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from traitvec_core.errors import TraitvecError
from traitvec_core.report.plots_of_steering import dose_response
from traitvec_core.stage_names import STAGES
from traitvec_core.steering_evaluation.result import SteeringEvaluation
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.vector_verdict import VERDICT_NAMES

ROOT = Path(__file__).resolve().parents[2]
# What was expected of each trait before it was measured.
_EXPECTED = {
    "brevity": "can be shown: the model follows an instruction about length",
    "lists": "can be shown: the model follows an instruction about format",
    "refusal": "hardly: it apologises now and then when asked to refuse",
    "even_words": "not elicited: it cannot count its words",
}
_INTRODUCTION = """\
# Results on a real model

`make real` runs four traits through the whole graph on {model}, a pretrained instruct model of \
{layers} decoder blocks, and writes this page. Measured on {date} with torch {torch} \
and transformers {transformers}, dtype {dtype}, in {minutes:.1f} minutes of work.

Rules score the responses (`experiments/smollm2/scorers.py`), so a run needs no key and no judge \
model: the number of words for brevity, lines that are items for lists, phrases of refusal, and \
whether the number of words is even. A rule sees what it counts and nothing else. Coherence is a \
rule as well: how much a response repeats itself; it does not see nonsense that never repeats.

{n} responses per pole: ten instruction pairs, {questions} questions, at most {max_new_tokens} \
tokens. Vectors by {methods} at layers {searched}. Twelve other questions test steering.

## What came out

"""
_READING = """\

- **contrast**: mean score of positives minus negatives, before any filter, with a 95% interval. \
Below 20 it fails: the instructions do not bring out the trait.
- **accuracy**: of a probe, on questions and instruction pairs that it has not seen.
- **instruction's share**: how much of the vector's separation comes from the instruction in the \
context and not from the response.
- **steering**: how far the recommended dose moves the score of unsteered answers, and how far the \
best of as many random directions as were searched would.

The first two traits were chosen because a small model can show them, the third because it hardly \
can, the fourth because it cannot. Two of ours were changed after trials: the wording of the \
instructions for lists, and brevity, which took the place of length because unsteered answers are \
already as long as the limit allows, so that no dose could show anything.

How to read rows in which the columns disagree:

- **A vector that steers can still be not usable.** The verdict covers monitoring too. Where much \
of the separation comes from the instruction in the context, the vector reads what the model was \
asked for as much as what it answers: it would call an answer short because of the prompt.
- **A trait that instructions hardly bring out can still have a direction that works.** The \
contrast judges the responses that the vector was made from. Few of them show the trait, so what \
the vector is made of is uncertain, whatever it does. More responses, or other instructions, come \
first.
- **With few questions, chance reaches far.** The best of as many random directions as were \
searched sets the bar, and it is high where single answers jump between 0 and 100.
"""

_ELICITATIONS = Path(__file__).with_name("two_elicitations.md")


def main() -> None:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=Path, default=ROOT / "experiments")
    parser.add_argument("--experiment", default="smollm2")
    parser.add_argument("--into", type=Path, default=ROOT / "docs/results.md")
    arguments = parser.parse_args()
    page = write_page(ExperimentFolder(arguments.experiments, arguments.experiment), arguments.into)
    print(f"results: {page}")  # noqa: T201


def write_page(experiment: ExperimentFolder, into: Path) -> Path:
    """Write the page about an experiment, and a folder of pictures beside it.

    Raises:
        TraitvecError: If a trait has no report.
    """
    reports = {name: _report(experiment.trait(name)) for name in experiment.traits()}
    pictures = into.parent / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [_introduction(experiment, reports), _table(reports), _READING]
    for name, report in reports.items():
        verdict = (report["recommended"] or {}).get("verdict")
        parts.append(f"\n## {name.capitalize()}: {VERDICT_NAMES[verdict].lower()}\n\n")
        parts.append(f"{report['answer']['headline']} {report['answer']['text']}\n")
        steering = report["steering"]
        if steering and steering["dose_response"]:
            picture = pictures / f"real_{name}.png"
            picture.write_bytes(dose_response(SteeringEvaluation.model_validate(steering)))
            parts.append(f"\n![{name}: score by dose]({pictures.name}/{picture.name})\n")
        parts.append(_examples(report))
    # Measured by other runs, which this one does not repeat.
    parts.append(_ELICITATIONS.read_text(encoding="utf-8"))
    into.write_text("".join(parts), encoding="utf-8")
    return into


def _report(folder: TraitFolder) -> dict[str, Any]:
    path = folder.path / "validation/report.json"
    if not path.exists():
        raise TraitvecError(f"{folder.experiment}/{folder.name} has no report; run `make real`")
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    records = [folder.provenance(stage) for stage in STAGES]
    report["seconds"] = sum(record.cost.seconds for record in records if record is not None)
    return report


def _introduction(experiment: ExperimentFolder, reports: Mapping[str, dict[str, Any]]) -> str:
    settings = experiment.settings()
    first = next(iter(reports.values()))
    provenance = first["provenance"]
    layers = "all" if settings.layers == "all" else ", ".join(map(str, settings.layers))
    return _INTRODUCTION.format(
        model=Path(first["model"]).name,
        layers=len(first["mean_norm_by_layer"]) - 1,
        date=provenance["created_at"][:10],
        **{name: provenance["versions"][name] for name in ("torch", "transformers")},
        dtype=settings.dtype,
        minutes=sum(report["seconds"] for report in reports.values()) / 60,
        n=settings.n_examples,
        questions=first["elicitation"]["n_questions"],
        max_new_tokens=settings.sampling.max_new_tokens,
        methods=", ".join(settings.methods),
        searched=layers,
    )


def _table(reports: Mapping[str, dict[str, Any]]) -> str:
    header = (
        "trait", "expected", "contrast", "accuracy", "instruction's share",
        "steering (random reaches)", "recommended", "verdict", "first reason",
    )  # fmt: skip
    rows = [[name, _EXPECTED.get(name, "–"), *_row(report)] for name, report in reports.items()]
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _row(report: Mapping[str, Any]) -> list[str]:
    shares = (report["explanations"] or {}).get("shares", [])
    share = next((s["share_of_separation"] for s in shares if s["name"] == "instruction"), None)
    accuracy = (report["separation"] or {}).get("probe_accuracy")
    vector = report["recommended"]
    reasons = vector["reasons"] if vector else []
    return [
        _estimate(report["elicitation"]["contrast"], "{:.0f}"),
        _estimate(accuracy, "{:.3f}"),
        _estimate(share, "{:.0%}"),
        _steering(report["steering"]),
        f"{vector['method']}, layer {vector['layer']}" if vector else "–",
        f"**{vector['verdict'].replace('_', ' ')}**" if vector else "–",
        re.split(r"; | \(warns", reasons[0])[0].replace("|", "/") if reasons else "–",
    ]


def _steering(steering: Mapping[str, Any] | None) -> str:
    if steering is None:
        return "not tried: the vectors separate too little"
    test = steering["test"]
    if test["effect"] is None:
        return test["untested"] or "–"
    verdict = "steers" if test["steers"] else "does not steer"
    if not test["is_coherent"]:
        verdict = "not coherent enough"
    return f"{_estimate(test['effect'], '{:+.0f}')} ({test['bound']:+.0f}): {verdict}"


def _examples(report: Mapping[str, Any]) -> str:
    steering = report["steering"]
    if not steering or not steering["dose_response"]:
        return ""
    tested = steering["tested"]
    chosen = max(steering["dose_response"], key=lambda scores: scores["coefficient"])
    for scores in steering["dose_response"]:
        if tested and scores["coefficient"] == tested["coefficient"]:
            chosen = scores
    rows = [
        ("question", "unsteered", "steered"),
        ("---", "---", "---"),
        *(
            (_cell(plain["question"]), _cell(plain["response"]), _cell(steered["response"]))
            for plain, steered in zip(
                steering["unsteered"]["examples"], chosen["examples"], strict=False
            )
        ),
    ]
    return "\n" + "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _cell(text: str, most: int = 160) -> str:
    """Model text is data: no markup of it takes effect."""
    line = " ".join(text.split())
    line = line if len(line) <= most else f"{line[:most]}…"
    code = line.replace("`", "'").replace("|", "/")
    return f"`{code}`" if code else "–"


def _estimate(estimate: Mapping[str, Any] | None, form: str) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    value = form.format(estimate["value"])
    if estimate["low"] is None:
        return value
    return f"{value} [{form.format(estimate['low'])}, {form.format(estimate['high'])}]"


if __name__ == "__main__":
    main()
