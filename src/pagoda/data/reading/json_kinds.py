"""Which program's JSON a file is, told from its beginning: annotation files may be larger than memory is free."""

import codecs
import mmap
import re
from pathlib import Path
from typing import Literal

from pagoda.data.reading.annotation_files import files_like
from pagoda.plain import checked

JsonKind = Literal["coco", "labelme", "createml", "via", "labelstudio"]

HEAD_BYTES = 2**16
COCO_LISTS = (b'"images"', b'"annotations"', b'"categories"')

_SHAPES = re.compile(rb'"shapes"\s*:\s*\[')
_TASK, _TASK_RESULTS = re.compile(rb'"data"\s*:\s*\{'), re.compile(rb'"(annotations|completions)"\s*:\s*\[')
_CREATEML = re.compile(rb'"(image|imagefilename)"\s*:\s*"')
_CREATEML_OBJECTS = re.compile(rb'"annotations?"\s*:\s*\[')


def json_kind(path: Path) -> JsonKind | None:
    """The program whose JSON a file is; None where it is none of them, or nothing that can be read.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.json")
    ...     _ = path.write_text('{"images": [], "annotations": [], "categories": []}')
    ...     json_kind(path)
    'coco'
    """
    try:
        with path.open("rb") as file:
            head = _plain(file.read(HEAD_BYTES))
    except OSError:
        return None
    if head.startswith(b"["):
        if b'"original_width"' in head or (_TASK.search(head) and _TASK_RESULTS.search(head)):
            return "labelstudio"
        is_createml = _CREATEML.search(head) and _CREATEML_OBJECTS.search(head)
        return "createml" if is_createml else None
    if not head.startswith(b"{"):
        return None
    if _SHAPES.search(head):
        return "labelme"
    if b'"_via_' in head or (b'"filename"' in head and b'"regions"' in head):
        return "via"
    return "coco" if _has_all(path, COCO_LISTS) else None


@checked
def json_files(root: Path, kind: JsonKind, patterns: tuple[str, ...]) -> list[Path]:
    """The files of one kind that the first pattern with any matches below `root`, sorted."""
    for pattern in patterns:
        found = [path for path in sorted(files_like(root, pattern)) if json_kind(path) == kind]
        if found:
            return found
    return []


def _plain(head: bytes) -> bytes:
    """Without byte-order mark and leading space; UTF-16 as UTF-8."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        head = head[: len(head) // 2 * 2].decode("utf-16", "ignore").encode()
    return head.removeprefix(codecs.BOM_UTF8).lstrip()


def _has_all(path: Path, words: tuple[bytes, ...]) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            plain = _plain(content[:])
            return all(word in plain for word in words)
        return all(content.find(word) >= 0 for word in words)
