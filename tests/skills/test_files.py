"""Opening files of a folder."""

from __future__ import annotations

import os

import pytest

from chatrt.skills.files import open_without_links


def test_a_resolved_path_is_opened(refunds):
    """A path without links is opened, as deep as it lies."""
    descriptor = open_without_links(refunds.path, ["references", "policy.md"])
    with os.fdopen(descriptor) as file:
        assert file.read() == "Within 30 days."


@pytest.mark.behaviour(189)
@pytest.mark.parametrize("parts", [["link", "policy.md"], ["references", "link"]])
def test_a_link_put_there_since_is_not_followed(refunds, parts):
    """Whoever puts a link where a folder or a file was checked a moment ago gets an error, also if it leads inside."""
    (refunds.path / "link").symlink_to("references")
    (refunds.path / "references" / "link").symlink_to("policy.md")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels of symbolic links"):
        open_without_links(refunds.path, parts)
