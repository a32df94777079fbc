"""Every public name explains itself, every example in a docstring runs, and the project's papers agree."""

import ast
import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
FILES = sorted((SOURCE / "pagoda").rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# `python -m pagoda` starts the command line when it is imported.
MODULES = [name for name in map(module_name, FILES) if not name.endswith("__main__")]
# A conversion's name says all there is to say: a_to_b.
KEEP_INFINITY = {
    "src/pagoda/cli/arguments/json_options.py",
    "src/pagoda/data/formats/createml.py",
    "src/pagoda/exporting/metadata.py",
    "src/pagoda/exporting/raw_heads.py",
    "src/pagoda/files/text.py",
    "src/pagoda/follow/frame_log.py",
    "src/pagoda/recipes/training_run.py",
    "src/pagoda/weights/files.py",
}
"""Files that write words, or options of which an infinite one has to come back as it was"""
SELF_EXPLAINING = re.compile(r"^[a-z0-9]+_to_[a-z0-9]+$")


def public_names(module) -> dict[str, object]:
    """Functions and classes defined in this module."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value) if callable(value) else value))
        and getattr(value, "__module__", None) == module.__name__
    }


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "runtime" / "src").rglob("*.py"))], ids=str)
def test_json_is_written_strictly(path):
    """NaN is no JSON; `files.text.json_text` writes null."""
    if path.relative_to(ROOT).as_posix() in KEEP_INFINITY:
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    writers = [call for call in calls if ast.unparse(call.func) in ("json.dumps", "json.dump")]
    loose = [
        call.lineno
        for call in writers
        if not any(word.arg == "allow_nan" and not ast.literal_eval(word.value) for word in call.keywords)
    ]
    assert not loose, f"{path}: lines {loose} write JSON that may hold NaN; use json_text, or allow_nan=False"


def load(name: str):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("pagoda"):
            raise
        pytest.skip(f"{name} needs the optional package '{missing.name}'")


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_a_docstring(name):
    module = load(name)
    is_file = Path(module.__file__).name != "__init__.py"
    assert module.__doc__ or not is_file, f"{name} does not say what it is about; begin it with a docstring"
    if name.startswith("pagoda.cli."):
        return  # a verb is one file; its first docstring is what `--help` and the reader need
    silent = []
    for each, value in public_names(module).items():
        # Dataclasses and named tuples without one get a made-up docstring: their signature.
        text = (value.__doc__ or "").strip()
        if (not text or text.startswith(f"{each}(")) and not SELF_EXPLAINING.match(each):
            silent.append(each)
    assert not silent, f"{name}: no docstring on {', '.join(silent)}; one line, what you get"


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.medium
def test_examples_in_docstrings_run(name):
    module = load(name)
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    texts: list[str] = []
    # Object by object: functions wrapped by the shape checks would otherwise count as foreign.
    for each, value in {name: module, **public_names(module)}.items():
        searcher = doctest.DocTestFinder(recurse=False) if value is module else finder
        for test in searcher.find(value, each, module=False, globs=dict(vars(module))):
            runner.run(test, out=texts.append)
    assert runner.summarize(verbose=False).failed == 0, "\n".join(texts)


def test_examples_are_found_at_all():
    from pagoda.ops import boxes

    found = doctest.DocTestFinder().find(boxes.box_areas, "box_areas", module=False, globs=vars(boxes))
    assert sum(len(test.examples) for test in found) == 1


def test_types_travel_with_the_package():
    assert (SOURCE / "pagoda" / "py.typed").is_file()


def test_version_is_the_newest_of_the_changelog():
    import pagoda

    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert versions and pagoda.__version__ == versions[0]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {pagoda.__version__}" in citation
