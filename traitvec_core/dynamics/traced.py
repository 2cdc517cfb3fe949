"""A text whose every token was projected on trait vectors."""

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
    """One text along one vector, a value for every token; NaN is missing.

    Attributes:
        watched: The vector.
        projection: h·v/‖v‖, `[n_tokens]`, activation units.
        cosine: Of h and v, `[n_tokens]`; missing where h is zero.
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
        token_ids: All tokens, those of the prompt first.
        tokens: Their names in the vocabulary.
        n_prompt: How many are the prompt's.
        is_response: For each token, whether it counts as response; special ones never do.
        pieces: The same tokens as readable text.
        curves: By trait, in the order in which vectors were given.
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
        """What the model answered, without special tokens."""
        return "".join(
            piece.text
            for piece in self.pieces
            if piece.begin >= self.n_prompt and not piece.is_special
        )

    @property
    def response_places(self) -> list[int]:
        """Numbers of the tokens that count as response."""
        return [place for place, is_counted in enumerate(self.is_response) if is_counted]

    def level(self, values: Values) -> Values:
        """What is smoothed of a value for every token: the response, `[n_response_tokens]`."""
        return curves.smooth(values[self.response_places])

    def summary(self, trait: str) -> ResponseSummary:
        """What the response comes to along one trait's vector."""
        curve = self.curves[trait]
        return curves.summarise(
            curve.projection[self.response_places],
            curve.watched.spread,
            prompt_last=float(curve.projection[self.n_prompt - 1]) if self.n_prompt else None,
        )

    def record(self) -> dict[str, Any]:
        """Everything, ready for JSON: lists of one length, a value for every token."""
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
