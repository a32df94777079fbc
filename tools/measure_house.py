"""How the house stands: circles, full folders, what loading takes along, how far it is from a picture to its network.

python tools/measure_house.py
"""

import ast
import subprocess
import sys
import traceback
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import torch

import pagoda
from pagoda.models import create_model

PACKAGE = Path(pagoda.__file__).parent
Graph = dict[str, set[str]]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PLACES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
"""{module: its file}"""
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in PLACES.items()}


def room(module: str) -> str:
    """The folder of a module, with dots; a file in the package's root is its own."""
    path = PLACES[module]
    folder = path.parent.relative_to(PACKAGE)
    if folder != Path():
        return folder.as_posix().replace("/", ".")
    return "pagoda" if path.name == "__init__.py" else path.stem


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of ours that a module imports, also inside its functions, where they would only hide a circle.

    Raises ValueError for a relative import.
    """
    found: set[str] = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{PLACES[module]}:{node.lineno} imports relatively; write 'from pagoda.…'")
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in PLACES else str(node.module) for name in full}
    return frozenset(name for name in found if name.split(".")[0] == "pagoda")


def graph_of_files() -> Graph:
    """Folders' own files, which pass nothing on, are left out."""
    files = [module for module, path in PLACES.items() if path.name != "__init__.py"]
    return {module: set(imports(module)) - {module} for module in files}


def graph_of_rooms() -> Graph:
    graph: Graph = {}
    for module in PLACES:
        graph.setdefault(room(module), set()).update(map(room, imports(module)))
    return {here: there - {here} for here, there in graph.items()}


def circle(graph: Graph) -> str:
    """One of its circles, "none" where there is none."""
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return " → ".join(error.args[1])
    return "none"


def docstrings() -> tuple[int, int]:
    """(public functions and classes whose docstring, or that of one of their methods, holds an example; all)."""
    public = [
        node
        for tree in TREES.values()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    return sum(map(_has_example, public)), len(public)


def _has_example(node: ast.FunctionDef | ast.ClassDef) -> bool:
    methods = [
        each for each in node.body if isinstance(node, ast.ClassDef) and isinstance(each, ast.FunctionDef)
    ]
    return any(">>>" in (ast.get_docstring(each) or "") for each in [node, *methods])


def fields_without_line() -> tuple[int, int]:
    """(fields of dataclasses without a line of text below them, all of them)."""
    silent = total = 0
    for tree in TREES.values():
        for node in ast.walk(tree):
            is_class = isinstance(node, ast.ClassDef)
            if not is_class or not any("dataclass" in ast.unparse(each) for each in node.decorator_list):
                continue
            for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(statement, ast.AnnAssign):
                    total += 1
                    told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    silent += not told
    return silent, total


def frames_to_the_network() -> list[str]:
    """Pagoda's own frames between `predict(picture)` and the first convolution of an FCOS."""
    model = create_model("fcos_resnet18_fpn", num_classes=2, short_side=64, long_side=64).eval()
    seen: list[str] = []
    first = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))

    def note(*_: object) -> None:
        if not seen:
            stack = [frame for frame in traceback.extract_stack() if str(PACKAGE) in frame.filename]
            seen.extend(f"{Path(frame.filename).relative_to(PACKAGE)}:{frame.name}" for frame in stack)

    first.register_forward_pre_hook(note)
    model.predict(torch.zeros(3, 64, 64, dtype=torch.uint8))
    return seen


def loaded_by(statement: str) -> tuple[int, int]:
    """(modules of Pagoda, all modules) in a fresh process."""
    count = "print(sum(m.split('.')[0] == 'pagoda' for m in sys.modules), len(sys.modules))"
    program = f"import sys, pagoda; {statement}; {count}"
    words = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    own, every = words.stdout.split()
    return int(own), int(every)


def main() -> None:
    print(f"circles of files           {circle(graph_of_files())}")
    print(f"circles of folders         {circle(graph_of_rooms())}")
    files = [module for module, path in PLACES.items() if path.name != "__init__.py"]
    counts = Counter(module.rpartition(".")[0] for module in files)
    fullest = ", ".join(f"{name} {count}" for name, count in counts.most_common(3))
    print(f"files in a folder          at most {max(counts.values())} ({fullest})")
    frames = frames_to_the_network()
    print(f"frames to the network      {len(frames)} ({', '.join(frames)})")
    print("modules by pagoda.load     {} own, {} in all".format(*loaded_by("pagoda.load")))
    any_count = sum(
        isinstance(node, ast.Name) and node.id == "Any" for tree in TREES.values() for node in ast.walk(tree)
    )
    print(f"Any                        {any_count}")
    shown, public = docstrings()
    print(f"docstrings with example    {shown} of {public} ({shown / public:.0%})")
    print("fields without a line      {} of {}".format(*fields_without_line()))


if __name__ == "__main__":
    main()
