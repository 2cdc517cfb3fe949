"""The atlas as one self-contained page, and its matrices as pictures."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traitvec_core.atlas.values import Atlas, Matrix, TraitRow
from traitvec_core.estimate import Estimate
from traitvec_core.report.environment import page_environment
from traitvec_core.report.verdict_badge import VERDICT_BADGES
from traitvec_core.storage.manifests import VectorVerdict

__all__ = ["build_atlas_page", "matrix_picture"]

# Up to this size the table of figures is shown; above, it is folded behind a picture.
_MOST_CELLS_OPEN = 25
_MOST_PAIRS = 100
_MOST_NAMES = 40
_PALETTE = 128
# Colours that stay apart for colour-blind readers (Okabe & Ito); the page's style has them too.
_POSITIVE, _NEGATIVE, _MISSING = (213, 94, 0), (0, 114, 178), (187, 187, 187)


def build_atlas_page(atlas: Atlas) -> str:
    """Build the page, which needs no network and runs no script.

    Args:
        atlas: The atlas.
    """
    sides: list[dict[str, Any]] = []
    if len(atlas.order) > 1:
        sides = [
            _shown_matrix(atlas, atlas.cosines, atlas.cosines),
            _shown_matrix(atlas, atlas.cross_auroc, _around_chance(atlas.cross_auroc)),
        ]
    page: str = _ENVIRONMENT.get_template("atlas.html.j2").render(
        atlas=atlas,
        headline=_headline(atlas),
        rows=[_row(row) for row in atlas.traits],
        incomplete=[row for row in atlas.traits if row.missing],
        pairs=atlas.near_duplicates[:_MOST_PAIRS],
        n_pairs=len(atlas.near_duplicates),
        matrices=sides,
        total=_total(atlas.traits),
    )
    return page


def matrix_picture(names: Sequence[str], values: Matrix) -> bytes:
    """Draw a matrix from −1 (blue) over 0 (white) to 1 (orange); grey is missing.

    Args:
        names: Names of rows and columns; shown where they are legible, up to 40.
        values: `[n, n]`.

    Returns:
        PNG.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    shown = list(names) if len(names) <= _MOST_NAMES else []
    side = max(2.5, 0.2 * len(shown)) if shown else 4.0
    figure = Figure(figsize=(side + 1.2, side + 1.2), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.imshow(_pixels(values), interpolation="nearest")
    axes.set_xticks(range(len(shown)), shown, rotation=90, fontsize=8)
    axes.set_yticks(range(len(shown)), shown, fontsize=8)
    axes.tick_params(length=0)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return _png(Image.open(drawn).convert("RGB"))


def _pixels(values: Matrix) -> NDArray[np.uint8]:
    """`[n, n, 3]`."""
    grid = np.array([[np.nan if v is None else v for v in row] for row in values], dtype=float)
    share = np.clip(np.abs(grid), 0, 1)[..., None]
    end = np.where(grid[..., None] > 0, _POSITIVE, _NEGATIVE)
    colours = np.where(np.isnan(share), _MISSING, 255 + share * (end - 255.0))
    return colours.round().astype(np.uint8)


def _png(image: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    flat = image.quantize(_PALETTE, dither=Image.Dither.NONE)
    flat.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _shown_matrix(atlas: Atlas, shown: Matrix, coloured: Matrix) -> dict[str, Any]:
    is_open = len(atlas.order) <= _MOST_CELLS_OPEN
    picture = "" if is_open else _pixel_picture(coloured)
    is_cross = shown is atlas.cross_auroc
    rows = []
    for place, (values, colours) in enumerate(zip(shown, coloured, strict=True)):
        cells = []
        for column, (value, colour) in enumerate(zip(values, colours, strict=True)):
            strong = is_cross and place != column and _is_beyond_chance(atlas, place, column)
            cells.append((_css(colour) + (" s" if strong else ""), _short(value)))
        rows.append((atlas.order[place], cells))
    # Room for the longest name in the page's font size.
    margin = 5 * max(len(name) for name in atlas.order) + 8
    return {"is_open": is_open, "picture": picture, "rows": rows, "margin": margin}


def _pixel_picture(values: Matrix) -> str:
    """One pixel per cell; the page enlarges it and adds the names."""
    from PIL import Image

    return base64.b64encode(_png(Image.fromarray(_pixels(values)))).decode()


def _is_beyond_chance(atlas: Atlas, row: int, column: int) -> bool:
    effect, chance = atlas.cross_effect[row][column], atlas.cross_chance[row][column]
    return effect is not None and chance is not None and abs(effect) > chance


def _around_chance(aurocs: Matrix) -> Matrix:
    """AUROC from −1 to 1, with 0.5 at 0."""
    return [[None if value is None else 2 * value - 1 for value in row] for row in aurocs]


def _css(value: float | None) -> str:
    """The CSS class of a value: p1…p9 above 0, n1…n9 below."""
    if value is None:
        return "x"
    level = min(round(abs(value) * 9), 9)
    return ("p" if value > 0 else "n") + str(level) if level else "o"


def _short(value: float | None) -> str:
    return _figure(value, 2)


def _headline(atlas: Atlas) -> str:
    n, n_complete = len(atlas.traits), sum(not row.missing for row in atlas.traits)
    pairs = len(atlas.near_duplicates)
    return (
        f"{n_complete} of {n} traits are complete, {len(atlas.order)} are compared; "
        + (f"{pairs} near-duplicate pair{'s' if pairs > 1 else ''}." if pairs else
           "no near-duplicates.")
    )  # fmt: skip


def _row(row: TraitRow) -> dict[str, Any]:
    return {
        "name": row.trait,
        # The atlas's folder is beside the traits' folders.
        "report": f"../{row.trait}/validation/report.html" if row.verdicts else None,
        "failed": ", ".join(row.checks("fail")),
        "warned": ", ".join(row.checks("warn")),
        "passed": len(row.checks("pass")),
        "contrast": _interval(row.contrast, 0),
        "badge": VERDICT_BADGES[row.verdict] if row.method else "No vector",
        "style": _VERDICT_STYLES[row.verdict] if row.method else "fail",
        "vector": _vector(row),
        "figures": row.figures,
        "reason": row.reasons[0] if row.reasons else "",
        "n_more": len(row.reasons[1:]),
        "effect_size": _interval(row.effect_size, 1),
        "auroc": _interval(row.auroc, 3),
        "other": row.strongest_other,
        "other_auroc": _figure(row.strongest_other_auroc, 2),
        "missing": row.missing,
        **_costs(row.seconds, row.tokens_in + row.tokens_out, row.usd),
    }


def _vector(row: TraitRow) -> str:
    if row.method is None:
        return "–"
    depth = "" if row.depth is None else f" ({row.depth:.0%})"
    dose = "" if row.coefficient is None else f", coefficient {row.coefficient:.3g}"
    return f"{row.method} at layer {row.layer}{depth}{dose}"


def _total(rows: Sequence[TraitRow]) -> dict[str, str]:
    prices = [row.usd for row in rows]
    known = [usd for usd in prices if usd is not None]
    return _costs(
        sum(row.seconds for row in rows), sum(row.tokens_in + row.tokens_out for row in rows),
        sum(known) if len(known) == len(prices) else None,
    )  # fmt: skip


def _costs(seconds: float, tokens: int, usd: float | None) -> dict[str, str]:
    shown = f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
    return {
        "time": shown,
        "tokens": f"{tokens:,}",
        "usd": "– US$" if usd is None else f"{usd:.2f} US$",
    }


def _figure(value: float | None, digits: int, *, signed: bool = False) -> str:
    """A missing number shows as a dash, never as 0."""
    if value is None:
        return "–"
    # z: a value that rounds to 0 has no sign.
    return f"{value:{'+' if signed else ''}z.{digits}f}".replace("-", "−")


def _interval(estimate: Estimate, digits: int, *, signed: bool = False) -> tuple[str, str]:
    """The value, and its interval if there is one."""
    shown = _figure(estimate.value, digits, signed=signed)
    ends = estimate.interval
    if estimate.value is None or ends is None:
        return shown, ""
    low, high = (_figure(end, digits, signed=signed) for end in ends)
    return shown, f"[{low}, {high}]"


_VERDICT_STYLES: dict[VectorVerdict | None, str] = {
    "usable": "pass", "with_care": "warn", "not_usable": "fail", None: "quiet",
}  # fmt: skip
_ENVIRONMENT = page_environment()
_ENVIRONMENT.filters["interval"] = _interval
_ENVIRONMENT.filters["figure"] = _figure
