"""A hook of MkDocs: links from docs/ to files outside it stay words, since the site holds the pages alone."""

import re
from typing import Any

LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+)[^)]*\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Called by MkDocs with the text of each page."""
    return without_outside_links(markdown, page.file.src_uri.count("/"))


def without_outside_links(markdown: str, depth: int) -> str:
    """The text of a page `depth` folders below docs/, with the words alone where a link leads out of it."""
    return LINK.sub(lambda link: link[1] if link[2].count("../") > depth else link[0], markdown)
