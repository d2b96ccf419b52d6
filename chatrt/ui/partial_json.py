"""JSON as JavaScript reads it, whole or cut off anywhere: what a streamed tool input is worth so far.

After `parsePartialJson`, `fixJson` and `secureJsonParse` of ai 7.0.173. Two things differ, both beyond what any store
or client carries: a number too large for a double is null (JavaScript reads Infinity and then writes null), and nesting
deeper than Python's recursion limit is a failed parse.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NoReturn, cast

from chatrt.errors import InvalidJSONError
from chatrt.ui.utf16 import has_surrogates, join_surrogates, join_surrogates_within, split_surrogates

ParseState = Literal["undefined-input", "successful-parse", "repaired-parse", "failed-parse"]

_MAX_SAFE_INTEGER = 2**53 - 1
_ALWAYS_SAFE_DIGITS = 15
_FORBIDDEN_KEY_HINT = re.compile(r"__proto__|constructor|\\u00", re.ASCII)


def parse_partial_json(text: str | None) -> tuple[Any, ParseState]:
    """Parse JSON that may be cut off anywhere. Linear in the length of the text; never raises.

    Args:
        text: The text so far; None when there is none at all.

    Returns:
        The value and how it was come by. The value is None for `undefined-input` and `failed-parse`, which are told
        from a parsed `null` only by the state.
    """
    if text is None:
        return None, "undefined-input"
    try:
        return parse_json(text), "successful-parse"
    except InvalidJSONError:
        pass
    try:
        return parse_json(fix_json(text)), "repaired-parse"
    except InvalidJSONError:
        return None, "failed-parse"


def parse_json(text: str) -> Any:
    """Parse JSON with JavaScript's numbers, refusing the keys that would reach a prototype there.

    Raises:
        InvalidJSONError: If the text is not JSON, is nested too deep, or holds a key `__proto__` or a `constructor`
            with a `prototype` in it.
    """
    halves = has_surrogates(text)
    try:
        value: Any = _DECODER.decode(join_surrogates(text) if halves else text)
        value = join_surrogates_within(value) if halves else value
    except RecursionError:
        raise InvalidJSONError("nested too deep") from None
    except ValueError as error:
        raise InvalidJSONError(str(error)) from None
    if _FORBIDDEN_KEY_HINT.search(text):
        _refuse_forbidden_keys(value)
    return value


def _number(text: str) -> int | float | None:
    if len(text) <= _ALWAYS_SAFE_DIGITS and text.lstrip("-").isdigit():
        return int(text)
    value = float(text)
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) <= _MAX_SAFE_INTEGER else value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# `int` and `float` callbacks keep the C scanner; `strict` refuses control characters in strings, as JavaScript does.
_DECODER = json.JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_refuse_constant, strict=True)  # pyright: ignore[reportArgumentType]


def _refuse_forbidden_keys(value: Any) -> None:
    stack: list[Any] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(cast("list[Any]", node))
        elif isinstance(node, dict):
            entries = cast("dict[str, Any]", node)
            constructor = entries.get("constructor")
            if "__proto__" in entries or (isinstance(constructor, dict) and "prototype" in constructor):
                raise InvalidJSONError("a key that reaches a prototype is not allowed")
            stack.extend(entries.values())


def fix_json(text: str) -> str:
    """Return the text cut after the last place where it was still valid, with everything open closed.

    One scan with a stack of states. The text is only cut and closed: what was invalid before stays so.
    """
    scanner = _Scanner(split_surrogates(text))  # each half counts for a character, which shows after a literal
    scanner.scan()
    return join_surrogates(scanner.closed())


_AFTER_VALUE_IN_OBJECT = "object-after-value"
_AFTER_VALUE_IN_ARRAY = "array-after-value"
_NUMBER_STARTS = frozenset("0123456789")
_NUMBER_MIDDLES = frozenset("eE-.")
_LITERALS = ("true", "false", "null")
_PLAIN_TEXT = re.compile(r'[^"\\]+')
_HEX = frozenset("0123456789abcdefABCDEF")


class _Scanner:
    """The states of `fixJson`, one method for each; `stack[-1]` is where the scan stands."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.stack = ["root"]
        self.valid_until = 0
        self.literal_start = 0
        self.escape_digits = 0

    def scan(self) -> None:
        text, stack, steps = self.text, self.stack, self._STEPS
        position, end = 0, len(text)
        while position < end:
            state = stack[-1]
            if state == "string" and (plain := _PLAIN_TEXT.match(text, position)):
                position = self.valid_until = plain.end()
                continue
            step = steps.get(state)
            if step is None:  # after the root value nothing counts
                return
            step(self, text[position], position)
            position += 1

    def closed(self) -> str:
        pieces = [self.text[: self.valid_until]]
        for state in reversed(self.stack):
            if state == "string":
                pieces.append('"')
            elif state.startswith("object"):
                pieces.append("}")
            elif state.startswith("array"):
                pieces.append("]")
            elif state == "literal":
                begun = self.text[self.literal_start :]
                pieces.append(next((word[len(begun) :] for word in _LITERALS if word.startswith(begun)), ""))
        return "".join(pieces)

    def _value_start(self, char: str, position: int, then: str) -> None:
        if char == '"':
            state = "string"
        elif char in "ftn":
            state = "literal"
            self.literal_start = position
        elif char in _NUMBER_STARTS or char == "-":
            state = "number"
        elif char == "{":
            state = "object-start"
        elif char == "[":
            state = "array-start"
        else:
            return
        if char != "-":  # a minus alone is no value yet
            self.valid_until = position + 1
        self.stack[-1] = then
        self.stack.append(state)

    def _root(self, char: str, position: int) -> None:
        self._value_start(char, position, "finish")

    def _object_start(self, char: str, position: int) -> None:
        if char == '"':
            self.stack[-1] = "object-key"
        elif char == "}":
            self._pop_valid(position)

    def _object_after_comma(self, char: str, _: int) -> None:
        if char == '"':
            self.stack[-1] = "object-key"

    def _object_key(self, char: str, _: int) -> None:
        # An escaped quote ends a key here, as it does upstream.
        if char == '"':
            self.stack[-1] = "object-after-key"

    def _object_after_key(self, char: str, _: int) -> None:
        if char == ":":
            self.stack[-1] = "object-before-value"

    def _object_before_value(self, char: str, position: int) -> None:
        self._value_start(char, position, _AFTER_VALUE_IN_OBJECT)

    def _object_after_value(self, char: str, position: int) -> None:
        if char == ",":
            self.stack[-1] = "object-after-comma"
        elif char == "}":
            self._pop_valid(position)

    def _array_start(self, char: str, position: int) -> None:
        if char == "]":
            self._pop_valid(position)
        else:
            self._value_start(char, position, _AFTER_VALUE_IN_ARRAY)

    def _array_after_comma(self, char: str, position: int) -> None:
        self._value_start(char, position, _AFTER_VALUE_IN_ARRAY)

    def _array_after_value(self, char: str, position: int) -> None:
        if char == ",":
            self.stack[-1] = "array-after-comma"
        elif char == "]":
            self._pop_valid(position)
        else:
            self.valid_until = position + 1

    def _string(self, char: str, position: int) -> None:
        if char == '"':
            self._pop_valid(position)
        else:  # a backslash: all else is plain text
            self.stack.append("escape")

    def _escape(self, char: str, position: int) -> None:
        if char == "u":
            self.escape_digits = 0
            self.stack[-1] = "unicode-escape"
        else:
            self._pop_valid(position)

    def _unicode_escape(self, char: str, position: int) -> None:
        if char in _HEX:
            self.escape_digits += 1
            if self.escape_digits == 4:
                self._pop_valid(position)

    def _number(self, char: str, position: int) -> None:
        if char in _NUMBER_STARTS:
            self.valid_until = position + 1
        elif char not in _NUMBER_MIDDLES:
            self.stack.pop()
            self._end_of_value(char, position)

    def _literal(self, char: str, position: int) -> None:
        begun = self.text[self.literal_start : position + 1]
        if any(word.startswith(begun) for word in _LITERALS):
            self.valid_until = position + 1
        else:
            self.stack.pop()
            self._end_of_value(char, position)

    def _end_of_value(self, char: str, position: int) -> None:
        """Let the character that ended a number or a literal act on what the value stands in."""
        state = self.stack[-1]
        if state == _AFTER_VALUE_IN_OBJECT and char in ",}":
            self._object_after_value(char, position)
        elif state == _AFTER_VALUE_IN_ARRAY and char in ",]":
            self._array_after_value(char, position)

    def _pop_valid(self, position: int) -> None:
        self.stack.pop()
        self.valid_until = position + 1

    _STEPS: ClassVar[dict[str, Callable[[_Scanner, str, int], None]]] = {
        "root": _root,
        "object-start": _object_start,
        "object-key": _object_key,
        "object-after-key": _object_after_key,
        "object-before-value": _object_before_value,
        "object-after-value": _object_after_value,
        "object-after-comma": _object_after_comma,
        "array-start": _array_start,
        "array-after-value": _array_after_value,
        "array-after-comma": _array_after_comma,
        "string": _string,
        "escape": _escape,
        "unicode-escape": _unicode_escape,
        "number": _number,
        "literal": _literal,
    }
