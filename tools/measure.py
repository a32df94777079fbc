"""The feel of size: lines per file, bodies of functions, parameters. Prints a table and what to look at again.

python tools/measure.py [folder]
"""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles


@dataclass(frozen=True)
class Measure:
    """One figure of one thing, with the limits at which to look again and to stop."""

    what: str
    where: str
    value: int
    look_again: int
    stop: int


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code and comments, without signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def num_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """What a caller may give; self and cls do not count."""
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    stars = [star for star in (function.args.vararg, function.args.kwarg) if star]
    return len([argument for argument in given if argument.arg not in {"self", "cls"}]) + len(stars)


def nesting(node: ast.AST, depth: int = 0) -> int:
    """Blocks inside blocks (elif does not count as deeper)."""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        block = isinstance(child, ast.If | ast.For | ast.While | ast.With | ast.Try | ast.Match)
        is_elif = isinstance(child, ast.If) and isinstance(node, ast.If) and child in node.orelse
        deepest = max(deepest, nesting(child, depth + (block and not is_elif)))
    return deepest


def measure_file(path: Path, root: Path) -> list[Measure]:
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(root).as_posix()
    found = [Measure("lines per file", name, len(text.splitlines()), 300, 400)]
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        where = f"{name}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            found.append(Measure("class lines", where, (node.end_lineno or 0) - node.lineno + 1, 200, 300))
            continue
        found.append(Measure("function body", where, body_lines(node), 40, 60))
        found.append(Measure("parameters", where, num_parameters(node), 8, 12))
        found.append(Measure("nesting", where, nesting(node), 3, 4))
    return found


def print_table(measures: list[Measure]) -> None:
    print(f"{'':16}{'count':>7}{'median':>8}{'9 of 10':>9}{'largest':>9}")
    for what in dict.fromkeys(measure.what for measure in measures):
        values = [measure.value for measure in measures if measure.what == what]
        ninth = quantiles(values, n=10)[-1] if len(values) > 1 else values[0]
        print(f"{what:16}{len(values):>7}{median(values):>8.0f}{ninth:>9.0f}{max(values):>9}")
    over = [measure for measure in measures if measure.value > measure.look_again]
    print(f"\nlook again: {len(over)}" if over else "\nnothing to look at again")
    for measure in sorted(over, key=lambda m: m.look_again / max(m.value, 1)):
        mark = "STOP" if measure.value > measure.stop else "    "
        print(f"{mark} {measure.what:15}{measure.value:>5} > {measure.look_again:<5}{measure.where}")


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "src" / "pagoda"
    files = sorted(root.rglob("*.py"))
    if not files:
        raise SystemExit(f"expected a folder with Python files, got {root}")
    print_table([measure for path in files for measure in measure_file(path, root)])


if __name__ == "__main__":
    main()
