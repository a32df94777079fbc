"""A web page with a program in it: style, script, data and pictures inside; it opens from a disk and calls nobody."""

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from pagoda.files.atomic import write_atomically
from pagoda.files.text import json_text
from pagoda.plain import JsonObject

_OUT_OF_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def write_program_page(
    path: str | Path,
    *,
    title: str,
    body: str,
    data: JsonObject,
    pictures: Sequence[bytes] = (),
    script: str,
    style: str = "",
) -> Path:
    """Write the page to `path`, whole or not at all, and return the path.

    Args:
        body: HTML; whoever makes it escapes what comes from data.
        data: plain values that the script finds as `data`; names in them may be anything.
        pictures: JPEG files, which the script shows by their number.
        script: runs after page.js, which has what such pages share.
        style: added to that of all pages.

    A browser that heeds the page's own policy runs this script alone, and loads nothing from anywhere.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     page = write_program_page(f"{folder}/a.html", title="<A>", body="", data={"a": "</script>"}, script="")
    ...     text = page.read_text()
    >>> "<title>&lt;A&gt;</title>" in text, '{"a": "\\\\u003c/script\\\\u003e"}' in text
    (True, True)
    """
    style = f"\n{shipped('paper.css')}{shipped('page.css')}{style}"
    script = f"\n{shipped('page.js')}{script}"
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )
    encoded = [base64.b64encode(picture).decode("ascii") for picture in pictures]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="data">{json_text(data).translate(_OUT_OF_SCRIPT)}</script>\n'
        f'<script type="application/json" id="pictures">{json_text(encoded)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )
    content = page.encode(errors="replace")  # names of files may hold bytes that are no text
    return write_atomically(path, lambda draft: draft.write_bytes(content))


def shipped(name: str, package: str = "pagoda.visualization") -> str:
    """A file that is installed beside the code, as text.

    >>> shipped("page.js").startswith('"use strict"')
    True
    """
    return files(package).joinpath(name).read_text(encoding="utf-8")


def section(heading: str, content: str, *, name: str) -> str:
    """HTML of a part of a page, called `name`; nothing where it has no content."""
    if not content:
        return ""
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{html.escape(heading)}</h2>\n{content}\n</section>'


def notes(texts: Sequence[str]) -> str:
    """HTML of sentences that stand below a part of a page."""
    return "".join(f'<p class="note">{html.escape(text)}</p>' for text in texts)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
