"""The idea of the house as a table: which folder may import which. Change the table only with the idea."""

import ast

import pytest

from measure import body_lines, nesting, num_parameters
from measure_house import (
    PACKAGE,
    PLACES,
    TREES,
    circle,
    graph_of_files,
    graph_of_rooms,
    imports,
    room,
)

MAX_FILE, MAX_BODY, MAX_CLASS, MAX_PARAMETERS, MAX_NESTING = 400, 60, 300, 12, 3
# A detector is handed all its parts, and pagoda.track takes the words of a command.
MANY_PARAMETERS = {
    "detectors/detect_and_track.py": {"__init__"},
    "detectors/rcnn.py": {"__init__"},
    "api.py": {"track"},
}
FORBIDDEN = {"utils", "util", "misc", "common", "core", "helpers", "helper", "tools", "lib", "shared"}

# Plain helpers: they import nothing of ours but one another, and every room may stand on them.
GROUND = {
    "batch_size", "beside", "evaluating", "files", "memory", "messages", "places", "plain", "progress", "stopping",
    "version",
}  # fmt: skip

# A room is a folder, or a file in the package's root. Each line: the rooms it may import besides itself and the ground.
# The floors go up from line to line, so that no arrow can lead back.
CONVENTIONS = {"ops", "structures", "criteria", "postprocess", "preprocess"}
PARTS = {"layers", "backbones", "necks", "heads"}
DATA = {
    "data",
    "data.table",
    "data.augment",
    "data.reading",
    "data.tracks",
    "data.formats",
    "data.formats.yolo",
    "data.writing",
    "data.arranging",
}
SCORING = {"evaluation", "evaluation.coco", "evaluation.errors", "evaluation.tracks"}
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
    "exporting.clips", "explain.doctor", "explain.structure", "explain.why", "explain.comparison", "follow", "training",
    "recipes", "machine", "tiling", "finding", "cluster", "catalogue",
}  # fmt: skip
MAY_IMPORT: dict[str, set[str]] = {
    "machine": set(),
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
    "tiling": {"ops", "postprocess", "preprocess", "structures"},
    "predict": {"pictures", "postprocess", "preprocess", "structures", "tiling"},
    "visualization": {"drawing", "pictures"},
    "evaluation.coco": {"ops", "structures"},
    "evaluation.tracks": {"ops", "structures"},
    "data.table": {"ops", "structures"},
    "evaluation.errors": {"evaluation.coco", "ops", "structures"},
    "evaluation": {
        "data.table", "evaluation.coco", "evaluation.errors", "evaluation.tracks", "pictures", "structures", "tiling",
    },
    "data.augment": {"data.table", "ops", "structures", "preprocess"},
    "data": {"data.table", "data.augment", "ops", "structures", "pictures"},
    "data.reading": {"data.table", "structures", "pictures"},
    "data.tracks": {"data", "data.reading", "ops", "structures", "pictures"},
    "data.formats.yolo": {"data.table", "data.reading", "structures", "pictures"},
    "data.formats": {"data.table", "data.reading", "data.tracks", "data.formats.yolo", "ops", "structures", "pictures"},
    "data.unread": {"data.formats", "data.formats.yolo", "data.reading", "data.tracks"},
    "data.writing": {
        "data",
        "data.unread",
        "data.table",
        "data.reading",
        "data.tracks",
        "data.formats",
        "data.formats.yolo",
        "ops",
        "structures",
        "pictures",
    },
    "data.arranging": {"data", "data.table", "data.writing", "structures", "pictures"},
    "data.drawn": {"data", "data.table", "ops", "structures"},
    # Handed built parts, so no backbones, necks and heads.
    "detectors": CONVENTIONS | {"layers", "predict", "tiling"},
    "zoo.flavours": CONVENTIONS | PARTS,
    "zoo": CONVENTIONS | PARTS | {"detectors", "weights", "zoo.flavours"},
    "convert.architecture": CONVENTIONS | PARTS | {"weights", "zoo", "zoo.flavours"},
    "convert.names": PARTS | {"weights", "zoo", "zoo.flavours", "convert.architecture"},
    "convert.darknet": CONVENTIONS | PARTS | {"weights", "zoo", "zoo.flavours"},
    "convert": CONVENTIONS
    | PARTS
    | {
        "detectors", "weights", "zoo", "zoo.flavours", "convert.architecture", "convert.names", "convert.darknet",
    },
    "exporting": CONVENTIONS | {"layers", "backbones", "detectors", "pictures", "machine", "evaluation.coco"},
    "exporting.clips": CONVENTIONS | {"detectors", "exporting"},
    "models": MODELS - {"models", "transfer"} | {"machine", "exporting", "exporting.clips"},
    "transfer": MODELS - {"transfer"} | {"convert.names"},
    "explain.structure": CONVENTIONS | {"detectors"},
    "explain.doctor": CONVENTIONS | DATA | {"detectors", "drawing", "pictures"},
    "explain.why": CONVENTIONS
    | DATA
    | SCORING
    | {"detectors", "explain.doctor", "exporting", "drawing", "pictures", "visualization"},
    "explain.comparison": {"evaluation", "evaluation.coco", "visualization"},
    "finding": {
        "data", "detectors", "drawing", "pictures", "postprocess", "predict", "preprocess", "structures", "tiling",
    },
    "cluster": {"detectors", "drawing", "finding", "pictures", "preprocess", "structures", "weights"},
    "follow": CONVENTIONS
    | DATA
    | SCORING
    | {"detectors", "drawing", "pictures", "tiling", "tracking", "video", "weights"},
    "training": CONVENTIONS | DATA | SCORING | {"layers", "detectors", "weights", "machine"},
    "catalogue": MODELS | {"explain.structure"},
    "recipes": TOP - PARTS - {"recipes"},
    "app": CONVENTIONS
    | DATA
    | SCORING
    | {"detectors", "drawing", "exporting", "explain.why", "follow", "pictures", "tracking", "video"},
    "hub": TOP,
    "api": TOP,
    "pagoda": TOP | {"api", "hub"},
    "cli.arguments": TOP,
    "cli.tracks": TOP | {"cli.arguments"},
    "cli.data": TOP | {"cli.arguments"},
    "cli.predicting": TOP | {"cli.arguments"},
    "cli.app": TOP | {"cli.arguments", "app"},
    "cli": TOP | {"cli.arguments", "cli.tracks", "cli.data", "cli.predicting", "predict"},
    "__main__": {"cli"},
}  # fmt: skip
MAX_FILES = 16
"""in a folder, besides its __init__.py"""

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
MODULES = sorted(PLACES)
IN_PACKAGE = pytest.mark.parametrize(
    "module", MODULES, ids=lambda module: PLACES[module].relative_to(PACKAGE).as_posix()
)


@IN_PACKAGE
def test_arrows_point_down(module):
    path = PLACES[module]
    here, file = room(module), path.relative_to(PACKAGE).as_posix()
    if path.name == "__init__.py" and path.parent != PACKAGE:
        assert not imports(module), f"{file} imports; a folder passes nothing on"
        return
    assert here in MAY_IMPORT or here in GROUND, f"{file}: room '{here}' is not in the table; add it"
    allowed = GROUND | MAY_IMPORT.get(here, set())
    for other in sorted(imports(module)):
        there = room(other)
        if there != here:
            assert there in allowed, f"{file} imports {other}, but {here} may import {sorted(allowed)}"


def test_the_table_goes_up():
    """A room stands below every room that may import it, so that no circle of folders is possible."""
    below: set[str] = set()
    for here, allowed in MAY_IMPORT.items():
        assert allowed <= below, f"'{here}' may import {sorted(allowed - below)}, which stand above it"
        below.add(here)
    used = {room(module) for module, path in PLACES.items() if path.name != "__init__.py"}
    assert set(MAY_IMPORT) - {"pagoda"} <= used, "rooms that are gone stay in the table"


@pytest.mark.parametrize("graph", [graph_of_files, graph_of_rooms])
def test_there_are_no_circles(graph):
    assert circle(graph()) == "none"


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in PLACES.values()}), ids=lambda path: path.name
)
def test_folders_stay_small(folder):
    files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= MAX_FILES, (
        f"{len(files)} files, at most {MAX_FILES}; give what belongs together a folder"
    )


@IN_PACKAGE
def test_files_and_functions_stay_small(module):
    lines = len(PLACES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE, f"{lines} lines, at most {MAX_FILE}; it holds two ideas, give each its file"
    for node in ast.walk(TREES[module]):
        if isinstance(node, FUNCTION):
            size = body_lines(node)
            assert size <= MAX_BODY, f"{node.name} (line {node.lineno}) has {size} lines, at most {MAX_BODY}"


@IN_PACKAGE
def test_classes_parameters_and_blocks_stay_few(module):
    many = MANY_PARAMETERS.get(PLACES[module].relative_to(PACKAGE).as_posix(), set())
    for node in ast.walk(TREES[module]):
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
def test_names_say_what_is_inside(module):
    bad = FORBIDDEN & set(PLACES[module].relative_to(PACKAGE).with_suffix("").parts)
    assert not bad, f"'{', '.join(bad)}' says nothing about its contents; name the one thing it is about"


@pytest.mark.parametrize("module", [each for each in MODULES if PLACES[each].name == "__init__.py"])
def test_init_files_only_pass_on(module):
    """Imports and names; the package's own may say its version and import late (`__getattr__`, `__dir__`)."""
    path = PLACES[module]
    for node in TREES[module].body:
        passes_on = isinstance(
            node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.Expr | ast.If
        )
        late = isinstance(node, ast.FunctionDef) and node.name in {"__getattr__", "__dir__"}
        where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
        assert passes_on or (late and path.parent == PACKAGE), f"{where} defines something; give it a file"
