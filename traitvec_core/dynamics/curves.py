"""Summaries of a response's projections: where they settle, their peak, and how long it lasts.

Projections of single tokens scatter widely: within one response, about as far as the poles are
apart, depending on the word. So these figures use the level, a centred moving mean of the
projections; with `window=1` the level is the projections themselves.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

__all__ = [
    "BAND",
    "CALM",
    "WINDOW",
    "ResponseSummary",
    "acceleration",
    "calm_point",
    "commitment_point",
    "persistence",
    "smooth",
    "summarise",
    "velocity",
]

Values = NDArray[np.float64]

# Number of tokens in the moving mean.
WINDOW = 9
# Both in units of the spread, the distance between the means of the poles. A level that stays
# within half of it has not moved from one pole to the other.
BAND = 0.5
CALM = 0.1


class ResponseSummary(BaseModel):
    """One response projected on one vector. Values are in activation units; None is missing.

    Attributes:
        n_tokens: Number of response tokens without special ones. Token indices below count these
            tokens, from 0.
        prompt_last: Projection of the prompt's last token, after which the response begins.
        mean: Mean projection, comparable with the means of the poles.
        peak: Highest level.
        peak_token: Its first token.
        persistence: Number of tokens for which the peak lasts; see `persistence`.
        final_level: Mean of the last `WINDOW` tokens, or of all tokens if there are fewer.
        commitment: Token at which the level settles; see `commitment_point`.
        calm: The simpler definition of the same, for comparison; see `calm_point`.
    """

    n_tokens: int
    prompt_last: float | None
    mean: float | None
    peak: float | None
    peak_token: int | None
    persistence: int | None
    final_level: float | None
    commitment: int | None
    calm: int | None


def summarise(
    projection: Values, spread: float, *, prompt_last: float | None = None, window: int = WINDOW
) -> ResponseSummary:
    """Summarise the projections of a response.

    Args:
        projection: `[n_tokens]`, activation units.
        spread: Distance between the means of the poles along the vector, activation units.
        prompt_last: Projection of the prompt's last token.
        window: Number of tokens in the moving mean; odd.
    """
    if not len(projection):
        return ResponseSummary(
            n_tokens=0, prompt_last=prompt_last, mean=None, peak=None, peak_token=None,
            persistence=None, final_level=None, commitment=None, calm=None,
        )  # fmt: skip
    level = smooth(projection, window)
    return ResponseSummary(
        n_tokens=len(projection),
        prompt_last=prompt_last,
        mean=float(projection.mean()),
        peak=float(level.max()),
        peak_token=int(level.argmax()),
        persistence=persistence(projection, BAND * spread, window),
        final_level=float(projection[-window:].mean()),
        commitment=commitment_point(projection, BAND * spread, window),
        calm=calm_point(projection, CALM * spread),
    )


def velocity(projection: Values) -> Values:
    """Return the first difference, `[n_tokens]`: how much each token changed. The first is NaN."""
    return np.diff(projection, prepend=np.nan)


def acceleration(projection: Values) -> Values:
    """Return the second difference, `[n_tokens]`, aligned with the last of its three tokens.

    The first two are NaN.
    """
    return velocity(velocity(projection))


def smooth(projection: Values, window: int = WINDOW) -> Values:
    """Return the level: a centred moving mean, `[n_tokens]`, with a shorter window at both ends."""
    half = window // 2
    return np.array(
        [projection[max(0, t - half) : t + half + 1].mean() for t in range(len(projection))]
    )


def commitment_point(projection: Values, band: float, window: int = WINDOW) -> int | None:
    """Return the first token after which the level stays within `band` of the final level.

    The final level is the mean of the last `window` tokens. A level that enters the band only
    within these tokens does not count as settled, and neither does a response without others.

    Args:
        projection: `[n_tokens]`, activation units.
        band: Largest distance, activation units.
        window: Number of tokens in the moving mean; odd.

    Returns:
        The token, counted from 0; None if the level does not settle or the response is too short.
    """
    n_before = len(projection) - window
    if n_before <= 0:
        return None
    is_outside = np.abs(smooth(projection, window) - projection[-window:].mean()) > band
    first = int(np.flatnonzero(is_outside).max(initial=-1)) + 1
    return first if first < n_before else None


def persistence(projection: Values, band: float, window: int = WINDOW) -> int | None:
    """Return how long the peak lasts: the run of tokens from it on that stay within `band` below.

    Args:
        projection: `[n_tokens]`, activation units.
        band: Largest distance from the peak, activation units.
        window: Number of tokens in the moving mean; odd.

    Returns:
        Number of tokens, including the peak; None if there are no tokens.
    """
    if not len(projection):
        return None
    level = smooth(projection, window)
    from_peak = level[int(level.argmax()) :]
    is_below = from_peak < from_peak[0] - band
    return int(is_below.argmax()) if is_below.any() else len(from_peak)


def calm_point(projection: Values, threshold: float) -> int | None:
    """Return the first token at which |acceleration| < `threshold`, a simpler commitment point.

    It only requires three tokens on a straight line, whatever the slope and what comes next.

    Args:
        projection: `[n_tokens]`, activation units.
        threshold: Activation units.

    Returns:
        The token, counted from 0; None if there is none.
    """
    # The first two tokens have no acceleration: NaN compares as False.
    calm_tokens = np.flatnonzero(np.abs(acceleration(projection)) < threshold)
    return int(calm_tokens[0]) if len(calm_tokens) else None
