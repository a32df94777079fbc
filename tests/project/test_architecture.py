"""The idea of the house as a table: which folder may import which. Change the table only with the idea."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "pagoda"
MAX_FILE, MAX_BODY, MAX_CLASS, MAX_PARAMETERS, MAX_NESTING = 400, 60, 300, 12, 3
# A detector is handed all its parts, and pagoda.track takes the words of a command.
MANY_PARAMETERS = {
    "detectors/detect_and_track.py": {"__init__"},
    "detectors/rcnn.py": {"__init__"},
    "api.py": {"track"},
}
BLOCKS = ast.If | ast.For | ast.While | ast.With | ast.Try | ast.Match
FORBIDDEN = {"utils", "util", "misc", "common", "core", "helpers", "helper", "tools", "lib", "shared"}

# Plain helpers: they import nothing of ours but one another, and every room may stand on them.
GROUND = {"evaluating", "files", "messages", "places", "plain", "stopping", "version"}

# A room is a folder, or a file in the package's root. Each line: the rooms it may import besides itself and the ground.
# The floors go up from line to line, so that no arrow can lead back.
CONVENTIONS = {"ops", "structures", "criteria", "postprocess", "preprocess"}
PARTS = {"layers", "backbones", "necks", "heads"}
DATA = {"data", "data.table", "data.augment", "data.reading", "data.tracks", "data.formats"}
SCORING = {"evaluation", "evaluation.coco", "evaluation.tracks"}
MODELS = {
    *CONVENTIONS,
    *PARTS,
    "detectors",
    "zoo",
    "zoo.flavours",
    "weights",
    "convert",
    "models",
    "transfer",
}
TOP = {
    *MODELS, *DATA, *SCORING, "pictures", "video", "drawing", "tracking", "data.drawn", "visualization", "exporting",
    "explain.doctor", "explain.structure", "follow", "training", "recipes",
}  # fmt: skip
MAY_IMPORT: dict[str, set[str]] = {
    "pictures": set(),
    "drawing": set(),
    "ops": set(),
    "layers": set(),
    "weights": set(),
    "structures": {"ops", "drawing"},
    "video": {"pictures"},
    "backbones": {"layers", "ops"},
    "necks": {"layers", "ops"},
    "heads": {"layers", "ops"},
    "criteria": {"ops", "structures"},
    "postprocess": {"ops", "structures"},
    "preprocess": {"ops", "structures"},
    "tracking": {"ops", "structures"},
    "predict": {"pictures", "postprocess", "preprocess", "structures"},
    "visualization": {"drawing"},
    "evaluation.coco": {"ops", "structures"},
    "evaluation.tracks": {"ops", "structures"},
    "evaluation": {"evaluation.coco", "pictures", "structures"},
    "data.table": {"ops", "structures"},
    "data.augment": {"ops", "structures", "preprocess"},
    "data": {"data.table", "data.augment", "ops", "structures", "pictures"},
    "data.reading": {"data.table", "structures", "pictures"},
    "data.tracks": {"data", "data.reading", "structures", "pictures"},
    "data.formats": {"data.table", "data.reading", "data.tracks", "ops", "structures", "pictures"},
    "data.drawn": {"data", "data.table", "ops", "structures"},
    # Handed built parts, so no backbones, necks and heads.
    "detectors": CONVENTIONS | {"predict"},
    "zoo.flavours": CONVENTIONS | PARTS,
    "zoo": CONVENTIONS | PARTS | {"detectors", "weights", "zoo.flavours"},
    "convert.architecture": CONVENTIONS | PARTS | {"weights", "zoo", "zoo.flavours"},
    "convert.names": PARTS | {"weights", "zoo", "zoo.flavours", "convert.architecture"},
    "convert": CONVENTIONS
    | PARTS
    | {"detectors", "weights", "zoo", "zoo.flavours", "convert.architecture", "convert.names"},
    "models": MODELS - {"models", "transfer"},
    "transfer": MODELS - {"transfer"} | {"convert.names"},
    "exporting": CONVENTIONS | {"layers", "detectors", "pictures"},
    "explain.structure": CONVENTIONS | {"detectors"},
    "explain.doctor": CONVENTIONS | DATA | {"detectors", "drawing", "pictures"},
    "follow": CONVENTIONS
    | DATA
    | SCORING
    | {"detectors", "drawing", "pictures", "tracking", "video", "weights"},
    "training": CONVENTIONS | DATA | SCORING | {"layers", "detectors", "weights"},
    "recipes": TOP - PARTS - {"recipes"},
    "api": TOP,
    "pagoda": TOP | {"api"},
    "cli.arguments": TOP,
    "cli": TOP | {"cli.arguments"},
    "__main__": {"cli"},
}  # fmt: skip
MAX_FILES = 16
"""in a folder, besides its __init__.py"""

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
IN_PACKAGE = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PLACES = {module_name(path): path for path in FILES}


def room(module: str) -> str:
    """The folder of a module, with dots; a file in the package's root is its own."""
    path = PLACES[module]
    folder = path.parent.relative_to(PACKAGE)
    if folder != Path():
        here = folder.as_posix().replace("/", ".")
        return "files" if here == "files" else here
    return "pagoda" if path.name == "__init__.py" else path.stem


def statements(node: ast.AST, waits: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """(statement, whether it waits inside a function) of all below a node; expressions, which hold none, are passed."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield child, waits
            yield from statements(child, waits or isinstance(child, FUNCTION))


@cache
def imports(path: Path) -> frozenset[tuple[str, bool]]:
    """(module of ours, whether the import waits inside a function) for every import of a file."""
    found = set()
    for node, waits in statements(TREES[path]):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; write 'from pagoda.…'"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in PLACES else node.module for name in full]
        found |= {(name, waits) for name in names if name == "pagoda" or name.startswith("pagoda.")}
    return frozenset(found)


@IN_PACKAGE
def test_arrows_point_down(path):
    here, file = room(module_name(path)), path.relative_to(PACKAGE).as_posix()
    if path.name == "__init__.py" and path.parent != PACKAGE:
        assert not imports(path), f"{file} imports; a folder passes nothing on"
        return
    assert here in MAY_IMPORT or here in GROUND, f"{file}: room '{here}' is not in the table; add it"
    allowed = GROUND | MAY_IMPORT.get(here, set())
    for module, _ in sorted(imports(path)):
        there = room(module)
        if there != here:
            assert there in allowed, f"{file} imports {module}, but {here} may import {sorted(allowed)}"


def test_the_table_goes_up():
    """A room stands below every room that may import it, so that no circle of folders is possible."""
    below: set[str] = set()
    for here, allowed in MAY_IMPORT.items():
        assert allowed <= below, f"'{here}' may import {sorted(allowed - below)}, which stand above it"
        below.add(here)
    used = {room(module) for module, path in PLACES.items() if path.name != "__init__.py"}
    assert set(MAY_IMPORT) - {"pagoda"} <= used, "rooms that are gone stay in the table"


def test_no_circles_of_files():
    """Imports inside functions count: they would only hide a circle."""
    graph = {
        module: {name for name, _ in imports(path) if name != module}
        for module, path in PLACES.items()
        if path.name != "__init__.py"
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError and names the circle


def test_no_circles_of_rooms():
    graph: dict[str, set[str]] = {}
    for module, path in PLACES.items():
        here = room(module)
        graph.setdefault(here, set()).update(room(name) for name, _ in imports(path))
        graph[here].discard(here)
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=lambda path: path.name)
def test_folders_stay_small(folder):
    files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= MAX_FILES, (
        f"{len(files)} files, at most {MAX_FILES}; give what belongs together a folder"
    )


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@IN_PACKAGE
def test_files_and_functions_stay_small(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE, f"{lines} lines, at most {MAX_FILE}; it holds two ideas, give each its file"
    for node, _ in statements(TREES[path]):
        if isinstance(node, FUNCTION):
            size = body_lines(node)
            assert size <= MAX_BODY, f"{node.name} (line {node.lineno}) has {size} lines, at most {MAX_BODY}"


def num_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return len([argument for argument in given if argument.arg not in {"self", "cls"}])


def nesting(node: ast.AST, depth: int = 0) -> int:
    """Blocks inside blocks; elif is not deeper than its if."""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(child, ast.If) and isinstance(node, ast.If) and child in node.orelse
        deepest = max(deepest, nesting(child, depth + (isinstance(child, BLOCKS) and not is_elif)))
    return deepest


@IN_PACKAGE
def test_classes_parameters_and_blocks_stay_few(path):
    many = MANY_PARAMETERS.get(path.relative_to(PACKAGE).as_posix(), set())
    for node, _ in statements(TREES[path]):
        if isinstance(node, ast.ClassDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MAX_CLASS, f"{node.name} has {lines} lines, at most {MAX_CLASS}"
        if isinstance(node, FUNCTION):
            where = f"{node.name} (line {node.lineno})"
            assert nesting(node) <= MAX_NESTING, f"{where}: {nesting(node)} blocks inside one another"
            if node.name not in many:
                assert num_parameters(node) <= MAX_PARAMETERS, (
                    f"{where} takes {num_parameters(node)} parameters"
                )


@IN_PACKAGE
def test_names_say_what_is_inside(path):
    bad = FORBIDDEN & set(path.relative_to(PACKAGE).with_suffix("").parts)
    assert not bad, f"'{', '.join(bad)}' says nothing about its contents; name the one thing it is about"


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=module_name)
def test_init_files_only_pass_on(path):
    """Imports and names; the package's own may say its version and import late (`__getattr__`, `__dir__`)."""
    for node in TREES[path].body:
        passes_on = isinstance(
            node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.Expr | ast.If
        )
        late = isinstance(node, ast.FunctionDef) and node.name in {"__getattr__", "__dir__"}
        where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
        assert passes_on or (late and path.parent == PACKAGE), f"{where} defines something; give it a file"
