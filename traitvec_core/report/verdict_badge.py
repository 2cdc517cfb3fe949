"""A vector and its verdict in a few words, the same on every page."""

from traitvec_core.storage.manifests import Recommendation, VectorVerdict

__all__ = ["VERDICT_BADGES", "vector_text", "verdict_badge"]

VERDICT_BADGES: dict[VectorVerdict | None, str] = {
    "usable": "Usable",
    "with_care": "Usable with care",
    "not_usable": "Not usable",
    None: "Not judged yet",
}
"""Each verdict as the pages show it."""


def vector_text(recommended: Recommendation) -> str:
    """Return method, layer and coefficient."""
    return (
        f"{recommended.method} at layer {recommended.layer},"
        f" coefficient {recommended.coefficient:.3g}"
    )


def verdict_badge(recommended: Recommendation | None) -> str:
    """Return the verdict in a word or two."""
    return VERDICT_BADGES[recommended.verdict] if recommended else "No vector"
