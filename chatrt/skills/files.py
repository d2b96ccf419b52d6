"""Reading a file of a folder by a path that somebody else chose: nothing outside of the folder is ever opened."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath


class OutsideError(ValueError):
    """The path leads out of the folder."""


def read_file(folder: Path, path: str, *, limit: int) -> tuple[bytes, int]:
    """Return the first `limit` bytes of a file in the folder, and its size.

    Args:
        folder: What the path is relative to.
        path: Relative. Symbolic links are followed as long as they stay in the folder.
        limit: In bytes.

    Raises:
        OutsideError: If the path is absolute, or leads out of the folder, by `..` or by a symbolic link.
        OSError: If there is no such file, or it is not a regular one.
        ValueError: If the path holds a NUL.
    """
    descriptor = _open_beneath(folder, path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise IsADirectoryError(0, "it is not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit), status.st_size
    finally:
        os.close(descriptor)


def decode_head(data: bytes, size: int) -> str:
    """Return bytes as a text that can be stored, with a notice if they are only the beginning of `size` bytes.

    What is not UTF-8, and NUL, becomes U+FFFD.
    """
    cut = len(data) < size
    # A character that the cut went through is left out.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(data, final=not cut).replace("\0", "\ufffd")
    return f"{text}\n[cut off: these are the first {len(data)} of {size} bytes]" if cut else text


def _open_beneath(folder: Path, path: str) -> int:
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or PureWindowsPath(path).root:
        raise OutsideError(path)
    root = folder.resolve()
    try:
        real = (root / path).resolve(strict=True)
    except RuntimeError:  # what Python before 3.13 says to links that lead in a circle
        raise FileNotFoundError(0, "its links lead in a circle") from None
    if not real.is_relative_to(root):
        raise OutsideError(path)
    if os.open not in os.supports_dir_fd:
        return os.open(real, os.O_RDONLY)
    return open_without_links(root, real.relative_to(root).parts)


def open_without_links(root: Path, parts: Sequence[str]) -> int:
    """Open a file step by step without following a link, and return its descriptor.

    There is no link on a resolved path, unless somebody put one there since. Followed, it would make what was checked
    and what is opened two files.

    Raises:
        OSError: If there is no such file, or a link stands in the way.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(root, flags | os.O_DIRECTORY)
    for number, part in enumerate(parts, 1):
        # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
        kind = os.O_NONBLOCK if number == len(parts) else os.O_DIRECTORY
        try:
            opened = os.open(part, flags | kind, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = opened
    return descriptor
