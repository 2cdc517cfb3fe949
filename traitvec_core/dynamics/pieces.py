"""Tokens as readable text, without splitting characters.

A character outside a tokenizer's vocabulary takes several tokens of a few bytes each, which decode
to U+FFFD one by one. Here such tokens form one piece.
"""

from dataclasses import dataclass
from typing import Any, cast

from traitvec_core.models.language_model import LanguageModel
from traitvec_core.visible_text import visible

__all__ = ["Piece", "PieceReader"]

_REPLACEMENT = "\ufffd"
# A character has at most four bytes. Byte-level merges can span two characters, so a piece can hold
# several; beyond this many tokens the bytes are not text.
_MAX_TOKENS = 12
_PARTIAL = "⟨part of a character⟩"


@dataclass(frozen=True)
class Piece:
    """A run of tokens that can be displayed.

    Attributes:
        text: Their text; empty for an incomplete character.
        begin: Index of the first token.
        end: Index after the last token.
        is_special: Whether it is a control token (BOS, a turn marker), displayed by its name.
        is_partial: Whether it is an incomplete character.
    """

    text: str
    begin: int
    end: int
    is_special: bool = False
    is_partial: bool = False

    @property
    def shown(self) -> str:
        """The text with invisible characters made visible."""
        return _PARTIAL if self.is_partial else visible(self.text, keep_lines=True)


class PieceReader:
    """Groups a growing sequence of tokens into pieces; every token is in exactly one.

    Args:
        model: The model whose tokenizer made the tokens.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._tokenizer = cast(Any, model.tokenizer)
        self._control = set(model.control_tokens)
        self._done: list[Piece] = []
        self._before: list[int] = []
        self._pending: list[int] = []

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces so far; the last one may be an incomplete character."""
        if not self._pending:
            return tuple(self._done)
        return (*self._done, Piece("", self._end, self._end + len(self._pending), is_partial=True))

    def add(self, token: int) -> None:
        """Add one token."""
        name = str(self._tokenizer.convert_ids_to_tokens(token))
        if name in self._control:
            self.close()
            self._pending = [token]
            self._finish(Piece(name, self._end, self._end + 1, is_special=True))
            return
        self._pending.append(token)
        text = self._text()
        if not text.endswith(_REPLACEMENT) or len(self._pending) == _MAX_TOKENS:
            self._finish(Piece(text, self._end, self._end + len(self._pending)))

    def close(self) -> None:
        """End the current piece: no character continues beyond this point."""
        if self._pending:
            self._finish(self.pieces[-1])

    @property
    def _end(self) -> int:
        return self._done[-1].end if self._done else 0

    def _finish(self, piece: Piece) -> None:
        self._done.append(piece)
        self._before, self._pending = self._pending, []

    def _text(self) -> str:
        # Decoded in context: many decoders drop a leading space.
        before = self._decode(self._before)
        text = self._decode(self._before + self._pending)
        return text[len(before) :] if text.startswith(before) else self._decode(self._pending)

    def _decode(self, tokens: list[int]) -> str:
        text = self._tokenizer.decode(
            tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)
