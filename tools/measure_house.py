"""How the house stands: circles, full folders, what loading takes along, how far it is from a picture to its network.

python tools/measure_house.py
"""

import ast
import subprocess
import sys
import traceback
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import torch

import pagoda
from pagoda.models import create_model

PACKAGE = Path(pagoda.__file__).parent
Graph = dict[str, set[str]]


def trees() -> dict[str, ast.Module]:
    """{module: its syntax tree}, folders' own files left out."""
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in files]
    return {
        name: ast.parse(path.read_text(encoding="utf-8")) for name, path in zip(names, files, strict=True)
    }


def imports(modules: dict[str, ast.Module]) -> Graph:
    """{module: the modules it imports}, also inside functions."""
    graph: Graph = {}
    for name, tree in modules.items():
        found = graph[name] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                full = [f"{node.module}.{alias.name}" for alias in node.names]
                found |= {each if each in modules else node.module for each in full}
        found &= set(modules) - {name}
    return graph


def folders(graph: Graph) -> Graph:
    """The same between folders."""
    between: Graph = {}
    for name, others in graph.items():
        here = name.rpartition(".")[0] if name.count(".") > 1 else name
        there = {each.rpartition(".")[0] if each.count(".") > 1 else each for each in others}
        between.setdefault(here, set()).update(there - {here})
    return between


def circle(graph: Graph) -> str:
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return " → ".join(error.args[1])
    return "none"


def docstrings(modules: dict[str, ast.Module]) -> tuple[int, int]:
    """(public functions, methods and classes with an example in their docstring, all of them)."""
    nodes = [node for tree in modules.values() for node in ast.walk(tree)]
    public = [
        node
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    return sum(">>>" in (ast.get_docstring(node) or "") for node in public), len(public)


def fields_without_line(modules: dict[str, ast.Module]) -> tuple[int, int]:
    """(fields of dataclasses without a line of text below them, all of them)."""
    silent = total = 0
    for tree in modules.values():
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
    modules = trees()
    graph = imports(modules)
    print(f"circles of files           {circle(graph)}")
    print(f"circles of folders         {circle(folders(graph))}")
    counts = Counter(name.rpartition(".")[0] for name in modules)
    fullest = ", ".join(f"{name} {count}" for name, count in counts.most_common(3))
    print(f"files in a folder          at most {max(counts.values())} ({fullest})")
    frames = frames_to_the_network()
    print(f"frames to the network      {len(frames)} ({', '.join(frames)})")
    print("modules by pagoda.load     {} own, {} in all".format(*loaded_by("pagoda.load")))
    any_count = sum(
        isinstance(node, ast.Name) and node.id == "Any"
        for tree in modules.values()
        for node in ast.walk(tree)
    )
    print(f"Any                        {any_count}")
    shown, public = docstrings(modules)
    print(f"docstrings with example    {shown} of {public} ({shown / public:.0%})")
    print("fields without a line      {} of {}".format(*fields_without_line(modules)))


if __name__ == "__main__":
    main()
