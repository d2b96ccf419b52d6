"""Text that every store and client can carry, out of deltas that were cut anywhere."""

from __future__ import annotations

import re

_BROKEN_TEXT = re.compile("[\x00\ud800-\udfff]")


class TextMender:
    """Joins emoji halves that two deltas share, and replaces NUL and halves that stay alone by U+FFFD."""

    def __init__(self) -> None:
        self._held = ""

    def mend(self, text: str) -> str:
        """Return what of `text` can be passed on now; a first half at its end waits for the next call."""
        if not self._held and not _BROKEN_TEXT.search(text):
            return text
        text = (self._held + text).replace("\x00", "\ufffd")
        self._held = ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def rest(self) -> str:
        """Return what stands for a half that never found its other half."""
        held, self._held = self._held, ""
        return "\ufffd" if held else ""
