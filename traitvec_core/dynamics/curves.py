"""What a curve of projections says of a response: where it settles, its peak, how long it lasts.

Single tokens scatter widely: inside one response about as far as the two poles are apart, by which
word is read. So where it settles, its peak and how long that lasts are read off a centred moving
mean, the level; `window=1` is the curve itself.
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

# Tokens that the level is a mean of.
WINDOW = 9
# Both in spreads, the distance between the means of the two poles. A level that stays within half
# of it has not gone from one pole to the other.
BAND = 0.5
CALM = 0.1


class ResponseSummary(BaseModel):
    """One response along one vector. Values are in activation units; None is missing.

    Attributes:
        n_tokens: Response tokens, special ones left out; tokens are counted among these, from 0.
        prompt_last: Projection of the prompt's last token, from which the answer begins.
        mean: Mean projection, comparable with the means of the two poles.
        peak: Highest level.
        peak_token: Where; the first of equals.
        persistence: Tokens for which the peak lasts; see `persistence`.
        final_level: Mean of the last `WINDOW` tokens, or of all where there are fewer.
        commitment: Token from which on the level stays; see `commitment_point`.
        calm: The plain definition, for comparison; see `calm_point`.
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
        spread: Distance between the means of the two poles along the vector, activation units.
        prompt_last: Projection of the prompt's last token.
        window: Tokens that the level is a mean of; odd.
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
    """First difference, `[n_tokens]`: what each token changed. The first one is NaN."""
    return np.diff(projection, prepend=np.nan)


def acceleration(projection: Values) -> Values:
    """Second difference, `[n_tokens]`, aligned with the last of its three tokens; two are NaN."""
    return velocity(velocity(projection))


def smooth(projection: Values, window: int = WINDOW) -> Values:
    """The level: a centred moving mean, `[n_tokens]`, over what there is of it at both ends."""
    half = window // 2
    return np.array(
        [projection[max(0, t - half) : t + half + 1].mean() for t in range(len(projection))]
    )


def commitment_point(projection: Values, band: float, window: int = WINDOW) -> int | None:
    """The first token from which on the level stays within `band` of the final level.

    The final level is the mean of the last `window` tokens. A level that comes inside the band only
    among these has not settled, as far as can be seen; nor can a response that has no others.

    Args:
        projection: `[n_tokens]`, activation units.
        band: Largest distance, activation units.
        window: Tokens that the level is a mean of; odd.

    Returns:
        The token, counted from 0; None when it never settles, or is too short to tell.
    """
    n_before = len(projection) - window
    if n_before <= 0:
        return None
    is_outside = np.abs(smooth(projection, window) - projection[-window:].mean()) > band
    first = int(np.flatnonzero(is_outside).max(initial=-1)) + 1
    return first if first < n_before else None


def persistence(projection: Values, band: float, window: int = WINDOW) -> int | None:
    """For how many tokens the peak lasts: those from it on, in a row, within `band` below it.

    Args:
        projection: `[n_tokens]`, activation units.
        band: Largest distance from the peak, activation units.
        window: Tokens that the level is a mean of; odd.

    Returns:
        Tokens, the peak's own included; None without tokens.
    """
    if not len(projection):
        return None
    level = smooth(projection, window)
    since = level[int(level.argmax()) :]
    is_below = since < since[0] - band
    return int(is_below.argmax()) if is_below.any() else len(since)


def calm_point(projection: Values, threshold: float) -> int | None:
    """The first token at which |acceleration| < `threshold`: the plain definition of commitment.

    It asks for three tokens in a line, on whatever slope and wherever the curve goes next.

    Args:
        projection: `[n_tokens]`, activation units.
        threshold: Activation units.

    Returns:
        The token, counted from 0; None when there is none.
    """
    # NaN is not below anything: the first two tokens have no acceleration.
    found = np.flatnonzero(np.abs(acceleration(projection)) < threshold)
    return int(found[0]) if len(found) else None
