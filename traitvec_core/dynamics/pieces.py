"""Tokens as readable text, without a character that is cut in pieces.

A character outside a tokenizer's vocabulary is several tokens of some bytes each; decoded alone,
each of them would become U+FFFD. Such tokens are one piece here.
"""

from dataclasses import dataclass
from typing import Any, cast

from traitvec_core.models.language_model import LanguageModel

__all__ = ["Piece", "PieceReader", "visible"]

_REPLACEMENT = "\ufffd"
# A character has at most four bytes. Byte-level merges can reach across the border of two
# characters, so that several in a row are one piece; past this, bytes are not text at all.
_LONGEST = 12
_PARTIAL = "⟨part of a character⟩"


@dataclass(frozen=True)
class Piece:
    """A run of tokens that can be shown.

    Attributes:
        text: What they stand for; empty for part of a character that never came to its end.
        begin: Number of its first token.
        end: Number behind its last token.
        is_special: A control token (BOS, the marks of a turn), shown as it is written.
        is_partial: Part of a character.
    """

    text: str
    begin: int
    end: int
    is_special: bool = False
    is_partial: bool = False

    @property
    def shown(self) -> str:
        """The text with whatever cannot be seen made visible."""
        return _PARTIAL if self.is_partial else visible(self.text)


class PieceReader:
    """Cuts a growing sequence of tokens into pieces; every token is in exactly one.

    Args:
        model: Whose tokens they are.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._tokenizer = cast(Any, model.tokenizer)
        self._control = set(model.control_tokens)
        self._done: list[Piece] = []
        self._before: list[int] = []
        self._pending: list[int] = []

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All tokens so far; the last piece may be part of a character."""
        if not self._pending:
            return tuple(self._done)
        return (*self._done, Piece("", self._end, self._end + len(self._pending), is_partial=True))

    def add(self, token: int) -> None:
        """Read one more token."""
        name = str(self._tokenizer.convert_ids_to_tokens(token))
        if name in self._control:
            self.close()
            self._pending = [token]
            self._finish(Piece(name, self._end, self._end + 1, is_special=True))
            return
        self._pending.append(token)
        text = self._text()
        if not text.endswith(_REPLACEMENT) or len(self._pending) == _LONGEST:
            self._finish(Piece(text, self._end, self._end + len(self._pending)))

    def close(self) -> None:
        """No character reaches beyond this point."""
        if self._pending:
            self._finish(self.pieces[-1])

    @property
    def _end(self) -> int:
        return self._done[-1].end if self._done else 0

    def _finish(self, piece: Piece) -> None:
        self._done.append(piece)
        self._before, self._pending = self._pending, []

    def _text(self) -> str:
        # In context: many decoders drop a space that opens a text.
        before = self._decode(self._before)
        whole = self._decode(self._before + self._pending)
        return whole[len(before) :] if whole.startswith(before) else self._decode(self._pending)

    def _decode(self, tokens: list[int]) -> str:
        text = self._tokenizer.decode(
            tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)


def visible(text: str) -> str:
    """Text with control characters as pictures: none may reach a terminal, nor be lost in a page.

    Line feeds and tabs stay as they are.
    """
    return text.translate(_PICTURES)


_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0x2426),
}
