"""The idea of the house as a table: which folder may import which. Change the table only with the idea."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "pagoda"
MAX_FILE, MAX_BODY = 400, 60
FORBIDDEN = {"utils", "util", "misc", "common", "core", "helpers", "helper", "tools", "lib", "shared"}

# The ground floor imports nothing of ours but what the table says, and every room may stand on it.
GROUND = {
    "text_files", "drafts", "files", "places", "plain", "orientation", "picture_files", "picture_strips", "stopping",
    "evaluating",
}  # fmt: skip
# room: the rooms it may import besides itself. A module in the package's root is a room of its own.
FLOW = {"structures", "pictures", "ops"}
STAGES = FLOW | {"criteria", "postprocess", "preprocess"}
PARTS = {"layers", "backbones", "necks", "heads"}
SCORING = {"tracking", "visualization", "evaluation"}
MODELS = STAGES | PARTS | SCORING | {"weights.files", "detectors", "detectors.contract"}
TOP = MODELS | {
    "data", "zoo", "weights.convert", "training", "predict", "predict_video", "exporting", "explain", "recipes",
}  # fmt: skip
MAY_IMPORT: dict[str, set[str]] = {
    "files": {"drafts"},
    "structures": set(),
    "pictures": set(),
    "holding": set(),
    "ops": {"structures"},
    "layers": set(),
    "weights.files": set(),
    "backbones": {"layers", "ops"},
    "necks": {"layers", "ops"},
    "heads": {"layers", "ops"},
    "criteria": {"ops", "structures"},
    "postprocess": {"ops", "structures"},
    "preprocess": FLOW,
    "tracking": FLOW,
    "evaluation": FLOW,
    "visualization": FLOW | {"evaluation"},
    "data": FLOW | {"preprocess"},
    "detectors": STAGES | {"detectors.contract"},  # handed built parts, so no backbones, necks, heads
    "detectors.contract": STAGES | {"detectors"},
    "zoo": MODELS | {"weights.convert"},
    "weights.convert": MODELS | {"zoo"},
    "training": FLOW
    | {"layers", "data", "evaluation", "weights.files", "weights.convert", "detectors.contract"},
    "predict": MODELS | {"zoo", "weights.convert"},
    "predict_video": MODELS,
    "exporting": MODELS | {"zoo", "weights.convert", "pagoda"},
    "explain": TOP - {"training", "recipes"},
    # "pagoda" is for its version only: the package's own file loads nothing until asked.
    "recipes": (MODELS - PARTS) | {"zoo", "data", "training", "predict_video", "holding", "pagoda"},
    "api": TOP,
    "pagoda": TOP | {"api"},
    "cli": TOP | {"pagoda", "api", "web", "holding"},
    "web": TOP | {"pagoda", "api"},
    "__main__": {"cli"},
}
# Conveniences of the user's objects reach up, inside the method that needs it: (file, room).
REACHES_UP = {
    ("structures/instances.py", "visualization"),
    ("detectors/contract.py", "visualization"),
    ("detectors/contract.py", "predict"),
}

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
IN_PACKAGE = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in FILES}


def room(module: str) -> str:
    parts = module.split(".")[1:]
    if not parts:
        return "pagoda"
    if parts[0] == "weights":
        return "weights.convert" if parts[1:2] == ["convert"] else "weights.files"
    return "detectors.contract" if parts[:2] == ["detectors", "contract"] else parts[0]


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
            names = [name if name in MODULES else node.module for name in full]
        found |= {(name, waits) for name in names if name == "pagoda" or name.startswith("pagoda.")}
    return frozenset(found)


@IN_PACKAGE
def test_arrows_point_down(path):
    here, file = room(module_name(path)), path.relative_to(PACKAGE).as_posix()
    assert here in MAY_IMPORT or here in GROUND, f"{file}: folder '{here}' is not in the table; add it"
    allowed = MAY_IMPORT.get(here, set()) | (set() if here in GROUND else GROUND)
    for module, waits in sorted(imports(path)):
        there = room(module)
        if there == here or (waits and (file, there) in REACHES_UP):
            continue
        assert there in allowed, f"{file} imports {module}, but {here} may import {sorted(allowed) or '–'}"


def test_no_circles():
    graph = {
        module_name(path): {name for name, waits in imports(path) if not waits and name != module_name(path)}
        for path in FILES
        if path.name != "__init__.py"
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError and names the circle


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
