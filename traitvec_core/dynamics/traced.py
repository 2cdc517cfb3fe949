"""Every token of a text, projected on trait vectors."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from traitvec_core.dynamics import curves
from traitvec_core.dynamics.curves import ResponseSummary, Values
from traitvec_core.dynamics.pieces import Piece
from traitvec_core.dynamics.watched import WatchedVector

__all__ = ["Curve", "Trace"]


@dataclass(frozen=True, eq=False)
class Curve:
    """One text projected on one vector, one value per token; NaN is missing.

    Attributes:
        watched: The vector.
        projection: h·v/‖v‖, `[n_tokens]`, activation units.
        cosine: Cosine of h and v, `[n_tokens]`; NaN where h is zero.
    """

    watched: WatchedVector
    projection: Values
    cosine: Values

    @cached_property
    def velocity(self) -> Values:
        """First difference of the projection, `[n_tokens]`."""
        return curves.velocity(self.projection)

    @cached_property
    def acceleration(self) -> Values:
        """Second difference of the projection, `[n_tokens]`."""
        return curves.acceleration(self.projection)


@dataclass(frozen=True, eq=False)
class Trace:
    """Every token of a prompt and its response, with its projections.

    Attributes:
        prompt: The rendered prompt.
        token_ids: All token ids, those of the prompt first.
        tokens: Their strings in the vocabulary.
        n_prompt: Number of prompt tokens.
        is_response: For each token, whether it belongs to the response (special tokens never do).
        pieces: The tokens as readable text.
        curves: One curve per trait, in the order of the vectors.
    """

    prompt: str
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    n_prompt: int
    is_response: tuple[bool, ...]
    pieces: tuple[Piece, ...]
    curves: dict[str, Curve]

    @property
    def response(self) -> str:
        """The response's text, without special tokens."""
        return "".join(
            piece.text
            for piece in self.pieces
            if piece.begin >= self.n_prompt and not piece.is_special
        )

    @property
    def response_places(self) -> list[int]:
        """Indices of the response's tokens."""
        return [index for index, is_response in enumerate(self.is_response) if is_response]

    def level(self, values: Values) -> Values:
        """Return the response's values, smoothed: `[n_response_tokens]`.

        Args:
            values: One value per token of the text.
        """
        return curves.smooth(values[self.response_places])

    def summary(self, trait: str) -> ResponseSummary:
        """Return the summary of the response along one trait's vector."""
        curve = self.curves[trait]
        return curves.summarise(
            curve.projection[self.response_places],
            curve.watched.spread,
            prompt_last=float(curve.projection[self.n_prompt - 1]) if self.n_prompt else None,
        )

    def record(self) -> dict[str, Any]:
        """Return everything as JSON-ready values: lists of equal length, one value per token."""
        return {
            "prompt": self.prompt,
            "response": self.response,
            "n_prompt": self.n_prompt,
            "token_ids": list(self.token_ids),
            "tokens": list(self.tokens),
            "is_response": list(self.is_response),
            "pieces": [vars(piece) for piece in self.pieces],
            "traits": {
                trait: {
                    "vector": curve.watched.name,
                    "layer": curve.watched.layer,
                    "spread": curve.watched.spread,
                    "poles": curve.watched.poles,
                    "summary": self.summary(trait).model_dump(),
                    "projection": curve.projection.tolist(),
                    "cosine": curve.cosine.tolist(),
                    "velocity": curve.velocity.tolist(),
                    "acceleration": curve.acceleration.tolist(),
                }
                for trait, curve in self.curves.items()
            },
        }
