"""An extension of Griffe: examples in docstrings become blocks of code, where Markdown would see quotations."""

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"(?:^|(?<=\n))(>>> .*?)(?=\n\s*\n|\Z)", flags=re.S)


def fenced(text: str) -> str:
    """A docstring whose examples, up to the next empty line, stand between fences."""
    return EXAMPLE.sub(r"\n```pycon\n\1\n```", text)


class FencedExamples(Extension):
    """For every module, class, function and attribute with a docstring."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None and ">>> " in obj.docstring.value:
            obj.docstring.value = fenced(obj.docstring.value)
