"""Files and answers as a broken program, a careless editor or an attacker would write them."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st

from traitvec_core.errors import DefinitionError, TraitvecError

_Result = TypeVar("_Result")

# What parsers stumble over: ends of strings and files, marks, numbers, nesting, other encodings.
_PIECES = (
    b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\n", b"\x1b[2J", b'"', b"'", b"\\",
    b"\\ud800", b"{", b"}", b"[", b"]", b"[" * 2000, b'{"a":' * 2000, b",", b":", b": ", b"- ",
    b"&a ", b"*a", b"!!int ", b"!!binary ", b"<<: ", b"---\n", b"#", b"|", b">", b"%", b"null",
    b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"-1", b"0", b"1e-400", b"true", b"=cmd()", b"\t",
    "\u202e".encode(), "\u2028".encode(), b"\xed\xa0\x80", b"x" * 70_000, b"\x80\x00\x00\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"../../x", b"2024-99-99", b"1:2:3", b"0x",
)  # fmt: skip
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["", "x\0", "\ud800", "\x1b[2J", "a" * 5000, "../x", "1", "nan", 10**400]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)


def few(n: int) -> Callable[[Any], Any]:
    """Run `n` examples in the suite, and as many as the profile says under `make fuzz`."""
    is_fuzzing = settings.get_current_profile_name() == "fuzz"
    return settings() if is_fuzzing else settings(max_examples=n)


def tried(call: Callable[[], _Result]) -> _Result | None:
    """Return a call's result, or None if it was refused by one line that can be read.

    Any other exception is a finding.
    """
    try:
        return call()
    except TraitvecError as error:
        message = str(error)
        lines = error.lines if isinstance(error, DefinitionError) else (message,)
    assert "\n" not in message
    assert len(lines) <= 11
    longest = max(map(len, lines))
    assert longest < 2000, (longest, message[:500])
    message.encode()
    return None


@st.composite
def mangled(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with a few places cut, repeated, replaced or filled."""
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from([0, 1, 2, 8, 64, 1024, len(data)]))
        piece = draw(
            st.sampled_from(_PIECES)
            | st.binary(max_size=8)
            | st.just(data[begin : begin + length] * 2)
        )
        data = data[:begin] + piece + data[begin + length :]
    return data


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value in which one to three places hold something else, or nothing."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value))
        if not places:
            return draw(_VALUES)
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        action = draw(st.sampled_from(["replace", "replace", "remove", "repeat"]))
        if action == "remove":
            del holder[key]
        elif action == "repeat" and isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[key] = draw(_VALUES)
    return value


def _places(value: Any) -> Any:
    """Every element of lists and every value of objects, as its holder and its key."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


@st.composite
def mangled_json(draw: st.DrawFn, value: Any) -> bytes:
    """A JSON file with other values, or with broken text."""
    if draw(st.booleans()):
        return json.dumps(draw(changed(value))).encode()
    return draw(mangled(json.dumps(value, indent=1).encode()))
