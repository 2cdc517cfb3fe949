"""A value with its interval: the one type that carries it, in code and in files."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

__all__ = ["Estimate"]


class Estimate(BaseModel):
    """A value with its 95% interval.

    Attributes:
        value: The value; None where it is unknown or undefined.
        low: Lower end of the interval; None where there is none.
        high: Upper end.
    """

    model_config = ConfigDict(frozen=True)

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _nan_is_unknown(cls, number: Any) -> Any:
        # JSON has no NaN: what is undefined reads back as it was written.
        return None if isinstance(number, float) and math.isnan(number) else number

    @classmethod
    def from_draws(cls, draws: Any) -> "Estimate":
        """Build an estimate from bootstrap draws.

        Args:
            draws: `[1 + n_draws]`: the value itself, then one entry per resample. Entries that are
                not finite are left out.

        Returns:
            The value with the 2.5th and 97.5th percentile of the resamples.
        """
        import numpy as np

        value, resampled = float(draws[0]), np.asarray(draws[1:])
        finite = resampled[np.isfinite(resampled)]
        if not math.isfinite(value):
            value = math.nan
        if not len(finite):
            return cls(value=value)
        low, high = np.percentile(finite, [2.5, 97.5])
        return cls(value=value, low=float(low), high=float(high))

    @classmethod
    def from_cluster_draws(
        cls, draws: Any, n_clusters: int, bounds: tuple[float, float] = (-math.inf, math.inf)
    ) -> "Estimate":
        """Build an estimate from resampled clusters, with the quantile that few clusters need.

        Percentiles of resamples are too narrow with few clusters: the interval is the value ± half
        of the distance between the draws' percentiles, widened from the normal quantile to that of
        t with `n_clusters − 1` degrees of freedom.

        Args:
            draws: `[1 + n_draws]`, as for `from_draws`.
            n_clusters: Number of clusters (questions or instruction pairs, whichever are fewer);
                with fewer than three there is no interval.
            bounds: The interval is cut at these.
        """
        import numpy as np
        from scipy.stats import norm, t

        value, resampled = float(draws[0]), np.asarray(draws[1:])
        finite = resampled[np.isfinite(resampled)]
        if not math.isfinite(value) or n_clusters < 3 or len(finite) < 2:
            return cls(value=value if math.isfinite(value) else None)
        # From percentiles: a draw of one question again and again may give anything.
        low, high = np.percentile(finite, [2.5, 97.5])
        half = float(t.ppf(0.975, n_clusters - 1) * (high - low) / (2 * norm.ppf(0.975)))
        return cls(value=value, low=max(value - half, bounds[0]), high=min(value + half, bounds[1]))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, or None where there is no interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def format(self, spec: str) -> str:
        """Return `value [low, high]`; a missing value is a dash, a missing interval is left out.

        Args:
            spec: Format of each number, such as `.2f`.
        """
        if self.value is None:
            return "–"
        ends = self.interval
        return f"{self.value:{spec}}" + (f" [{ends[0]:{spec}}, {ends[1]:{spec}}]" if ends else "")
