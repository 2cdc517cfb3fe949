"""The documentation page of the calibration, from its figures."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["render"]

_INTRODUCTION = """\
# Calibration

A verdict is worth something only if it says no when there is nothing. `make calibrate` simulates \
traits that do not exist, and some that do, measures and judges them with the code that judges \
yours, and writes this page. Measured on {date} with traitvec {traitvec}, {n} simulated traits of \
each kind: {n_per_pole} responses per pole, {n_questions} questions, {n_layers} layers of \
{hidden_dim} dimensions, three vector methods. `contrast` and `steering` are not part of these \
tables: activations and texts alone have to say no.

"""
_KINDS = """\
- **exchangeable noise**: questions differ, poles do not.
- **question × pole effects**: each question is answered differently under the two poles, in its \
own way.
- **instruction-text effects**: each instruction text shifts its responses in its own way; nothing \
is common to a pole.
- **uneven poles**: noise, with 100 positives against 8 negatives.
- **length and a tic**: positives are longer and often end with the same words; the activations \
know both and nothing else.
- **instruction only**: the activations follow the instruction in the context, whatever the \
response.
- **topics asked twice**: question × pole effects with half as many topics.
- **planted**: a shift along one direction, a little different for each pair and question, so \
large that the held-out effect size is about d.
"""


def render(record: Mapping[str, Any]) -> str:
    """Return the page as Markdown.

    Args:
        record: What `run.py` writes to calibration.json.
    """
    first = next(iter(record["traits"].values()))
    n = next(iter(first.values()))["n"]
    parts = [
        _INTRODUCTION.format(
            n=n,
            **record["design"],
            **{name: record["measured"]["traits"][name] for name in ("date", "traitvec")},
        ),
        _KINDS,
    ]
    for pairs, kinds in record["traits"].items():
        parts.append(f"\n## Verdicts with {pairs}\n\nShare of the traits, in percent.\n\n")
        parts.append(_verdicts(kinds))
    parts.append(
        "\n## P-values\n\nUnder its own null a p-value is at most 0.05 in at most 5% of the traits:"
        " swapped pairs for instruction-text effects, swapped questions for question × pole"
        " effects, both for exchangeable noise. The check `chance` takes the largest. The last"
        " column tests whether small p-values are more frequent than uniform ones"
        " (Kolmogorov–Smirnov, one-sided): a small number would mean that they are.\n\n"
    )
    parts.append(_p_values(first))
    parts.append(_steering(record))
    return "".join(parts)


def _verdicts(kinds: Mapping[str, Any]) -> str:
    checks = list(next(iter(kinds.values()))["passes"])
    header = ["kind", "held-out effect size", "**usable**", "with care", "not usable"]
    rows = [
        [
            kind,
            "–" if each["effect_size"] is None else f"{each['effect_size']:.2f}",
            f"**{each['verdict']['usable']:.1%}**",
            f"{each['verdict']['with_care']:.1%}",
            f"{each['verdict']['not_usable']:.1%}",
            *(f"{each['passes'][name]:.0%}" for name in checks),
            f"{each['steering_skipped_by_auto']:.0%}",
        ]
        for kind, each in kinds.items()
    ]
    return _table([*header, *(f"`{name}` passes" for name in checks), "steering skipped"], rows)


def _p_values(kinds: Mapping[str, Any]) -> str:
    rows = [
        [kind, name, f"{figures['at_most_0.05']:.1%}", f"{figures['kolmogorov_smirnov_p']:.2f}"]
        for kind, each in kinds.items()
        if not kind.startswith("planted")
        for name, figures in each["p"].items()
    ]
    return _table(["kind", "compared with", "p ≤ 0.05", "more small p than uniform?"], rows)


def _steering(record: Mapping[str, Any]) -> str:
    cells = record["steering"]
    null = [
        [f"{c['sd']:g}", str(c["questions"]), f"{c['steers']:.1%}"]
        for c in cells
        if c["effect"] is None
    ]
    power = [
        [f"{c['effect']:g}", f"{c['sd']:g}", str(c["questions"]), f"{c['steers']:.1%}"]
        for c in cells
        if c["effect"] is not None
    ]
    model = record["steering_on_the_model"]
    return (
        "\n## Steering\n\nDirections whose effects are drawn from one distribution, through the"
        f" search, the choice and the test ({cells[0]['n']} each); the share called steering:\n\n"
        + _table(["SD of the effects (points)", "held-out questions", "steers"], null)
        + "\nThe same where every searched direction has one true effect:\n\n"
        + _table(["effect", "SD of random directions", "held-out questions", "steers"], power)
        + "\nRandom directions of the same norms in place of the demo's vectors, on the embedded"
        f" model: {model['random_called_steering']} of {model['random_sets']} sets are called"
        " steering.\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
