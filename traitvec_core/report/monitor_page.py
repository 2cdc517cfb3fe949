"""Traces as one self-contained page: text coloured by projection, and curves under it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from traitvec_core.dynamics.curves import BAND, CALM, WINDOW, Values
from traitvec_core.dynamics.overview import Figures, Overview
from traitvec_core.dynamics.pieces import Piece
from traitvec_core.dynamics.traced import Curve, Trace
from traitvec_core.report.environment import page_environment
from traitvec_core.storage.vector_verdict import describe_verdict
from traitvec_core.visible_text import visible

__all__ = ["build_monitor_page", "pole_units"]

# Colours that stay apart for colour-blind readers (Okabe & Ito): two of them for the poles, the
# others for traits.
_POSITIVE, _NEGATIVE = "213 94 0", "0 114 178"
_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#888888")
_FULL_COLOUR = 2.0
_WIDTH, _HEIGHT = 1000.0, 240.0
_COLUMNS = (
    "last prompt", "mean", "peak", "persistence", "final level", "commitment", "calm",
)  # fmt: skip
_OVERVIEW_COLUMNS = (
    "texts", "trait score", "last prompt", "mean", "peak", "persistence", "settled", "commitment",
)  # fmt: skip
# Limits of the chart in pole units: a BOS token can be far beyond everything else.
_LEAST, _MOST = 1.5, 6.0


def build_monitor_page(
    traces: Sequence[Trace],
    *,
    model: str,
    headings: Sequence[str] | None = None,
    overview: Overview | None = None,
) -> str:
    """Build the page, which needs no network and runs no script.

    Args:
        traces: The traces to show, in order.
        model: The model's name.
        headings: A heading for each; by default the prompt as the model saw it.
        overview: Figures over all texts, possibly more than are shown; they come first.
    """
    names = headings or [trace.prompt for trace in traces]
    page: str = _ENVIRONMENT.get_template("monitor.html.j2").render(
        model=visible(model),
        verdicts=_verdicts(traces),
        n_picks=max((len(trace.curves) for trace in traces), default=0),
        overview=overview and _overview(overview, len(traces)),
        columns=_COLUMNS,
        texts=[
            _text(trace, visible(name, keep_lines=True))
            for trace, name in zip(traces, names, strict=True)
        ],
        width=_WIDTH,
        height=_HEIGHT,
        window=WINDOW,
        band=BAND,
        calm=CALM,
    )
    return page


def pole_units(curve: Curve, is_response: Sequence[bool]) -> Values:
    """Return the projection with the negative pole at −1 and the positive one at 1, `[n_tokens]`.

    Where the poles are unknown, 0 is the mean over the response's tokens (over all tokens while
    there is no response), and the unit is still half the spread.
    """
    if curve.watched.poles is not None:
        middle = sum(curve.watched.poles) / 2
    else:
        chosen = curve.projection[list(is_response)] if any(is_response) else curve.projection
        middle = float(chosen.mean()) if len(chosen) else 0.0
    units: Values = (curve.projection - middle) / (curve.watched.spread / 2 or 1.0)
    return units


def _verdicts(traces: Sequence[Trace]) -> list[dict[str, str]]:
    """The verdict on each monitored vector, once per trait."""
    watched = {name: curve.watched for trace in traces for name, curve in trace.curves.items()}
    return [
        {
            "trait": name,
            "vector": each.name,
            "style": "fail" if each.verdict == "not_usable" else "",
            "text": describe_verdict(each.verdict, each.reasons),
            "stale": each.stale or "",
        }
        for name, each in watched.items()
    ]


def _overview(overview: Overview, n_shown: int) -> dict[str, Any]:
    prediction = overview.prediction
    rows = [*overview.by_condition.items(), ("all", overview.whole)]
    return {
        "n_texts": overview.whole.n_texts,
        "n_shown": n_shown,
        "columns": _OVERVIEW_COLUMNS,
        "rows": [(name, _cells(figures)) for name, figures in rows],
        "correlations": [
            (name, _number(correlation.r), correlation.n)
            for name, correlation in (
                ("overall", prediction.overall),
                ("across the conditions' means", prediction.across),
                ("inside the conditions", prediction.inside),
            )
        ],
        "missing": prediction.missing,
    }


def _cells(figures: Figures) -> list[str]:
    settled = "–" if figures.settled_share is None else f"{figures.settled_share:.0%}"
    return [
        str(figures.n_texts),
        _number(figures.mean_trait_score),
        _number(figures.mean_prompt_last),
        _number(figures.mean_projection),
        _number(figures.mean_peak),
        _number(figures.median_persistence),
        f"{settled} of {figures.n_long}" if figures.n_long else settled,
        _number(figures.median_commitment),
    ]


def _text(trace: Trace, heading: str) -> dict[str, Any]:
    units = {trait: pole_units(curve, trace.is_response) for trait, curve in trace.curves.items()}
    pieces = [_piece(trace, piece, list(units.values())) for piece in trace.pieces]
    n_before = sum(piece.begin < trace.n_prompt for piece in trace.pieces)
    return {
        "heading": heading,
        "prompt": pieces[:n_before],
        "response": pieces[n_before:],
        "traits": [_trait(trace, trait, number) for number, trait in enumerate(trace.curves)],
        "chart": _chart(trace, units),
    }


def _piece(trace: Trace, piece: Piece, units: list[Values]) -> dict[str, Any]:
    colours = []
    for number, values in enumerate(units):
        value = float(np.mean(values[piece.begin : piece.end]))
        if np.isfinite(value):
            hue = _POSITIVE if value > 0 else _NEGATIVE
            share = 0.75 * min(1.0, abs(value) / _FULL_COLOUR)
            colours.append(f"--c{number}: {hue} / {share:.2f}")
    # A line feed alone would leave nothing to hover over.
    shown = piece.shown.replace("\n", "↵\n") or "∅"
    kind = "special" if piece.is_special else "partial" if piece.is_partial else ""
    return {"shown": shown, "tip": _tip(trace, piece), "style": "; ".join(colours), "kind": kind}


def _tip(trace: Trace, piece: Piece) -> str:
    where = "prompt" if piece.begin < trace.n_prompt else "response"
    first = piece.begin - (0 if where == "prompt" else trace.n_prompt)
    lines = []
    for place in range(piece.begin, piece.end):
        name = visible(trace.tokens[place])
        part = "" if piece.end - piece.begin == 1 else f", part of {piece.shown}"
        lines.append(f"{where} token {first + place - piece.begin}: {name}{part}")
        for trait, curve in trace.curves.items():
            lines.append(
                f"  {trait}  {_number(curve.projection[place])}"
                f" · cosine {_number(curve.cosine[place])}"
                f" · velocity {_number(curve.velocity[place])}"
                f" · acceleration {_number(curve.acceleration[place])}"
            )
    return "\n".join(lines)


def _trait(trace: Trace, trait: str, number: int) -> dict[str, Any]:
    watched = trace.curves[trait].watched
    summary = trace.summary(trait)
    peak = "–" if summary.peak is None else f"{_number(summary.peak)} at {summary.peak_token}"
    poles = watched.poles
    return {
        "name": trait,
        "vector": watched.name,
        "colour": _COLOURS[number % len(_COLOURS)],
        "scale": (
            f"poles {_number(poles[0])}, {_number(poles[1])}"
            if poles
            else f"spread {_number(watched.spread)}"
        ),
        # As in `_COLUMNS`. The verdict is at the top of the page, once for all texts.
        "cells": [
            _number(summary.prompt_last),
            _number(summary.mean),
            peak,
            _count(summary.persistence),
            _number(summary.final_level),
            _count(summary.commitment, "none"),
            _count(summary.calm, "none"),
        ],
    }


def _chart(trace: Trace, units: dict[str, Values]) -> dict[str, Any]:
    n = len(trace.token_ids)
    places = trace.response_places
    step = _WIDTH / max(n, 1)
    plain = [
        values[place]
        for piece in trace.pieces
        if not piece.is_special
        for values in units.values()
        for place in range(piece.begin, piece.end)
        if np.isfinite(values[place])
    ]
    high = min(_MOST, max([_LEAST, *plain]))
    low = max(-_MOST, min([-_LEAST, *plain]))

    def y(value: float) -> float:
        return float((high - value) / (high - low) * _HEIGHT)

    def point(place: int, value: float) -> str:
        return f"{(place + 0.5) * step:.1f},{y(value):.1f}"

    curves = []
    for number, (trait, values) in enumerate(units.items()):
        level = trace.level(values)
        summary = trace.summary(trait)
        marks = {"commitment": summary.commitment, "peak": summary.peak_token}
        curves.append(
            {
                "colour": _COLOURS[number % len(_COLOURS)],
                "dash": "none" if number < len(_COLOURS) else "6 3",
                "raw": " ".join(point(k, v) for k, v in enumerate(values) if np.isfinite(v)),
                "level": " ".join(point(k, v) for k, v in zip(places, level, strict=True)),
                "marks": {
                    name: ((places[token] + 0.5) * step, y(level[token]))
                    for name, token in marks.items()
                    if token is not None
                },
            }
        )
    bars = [
        {"x": piece.begin * step, "width": (piece.end - piece.begin) * step,
         "tip": f"{piece.shown}\n{_tip(trace, piece)}"}
        for piece in trace.pieces
    ]  # fmt: skip
    return {
        "border": trace.n_prompt * step,
        "poles": [("positive pole", y(1)), ("negative pole", y(-1))],
        "curves": curves,
        "bars": bars,
    }


def _number(value: float | None) -> str:
    """A missing number shows as a dash, never as 0."""
    return "–" if value is None or np.isnan(value) else f"{value:.4g}".replace("-", "−")


def _count(value: int | None, missing: str = "–") -> str:
    return missing if value is None else str(value)


_ENVIRONMENT = page_environment()
