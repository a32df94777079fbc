"""pagoda demo"""

from collections.abc import Sequence
from dataclasses import dataclass

from pagoda.cli.parsing import parse
from pagoda.recipes.demo import run_demo


@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """Train a small FCOS on drawn shapes, on the CPU, in about three minutes."""

    epochs: int = 9
    seed: int = 0
    out: str = "runs"
    min_ap50: float = 0.6
    """exit with 1 when AP50 stays below"""


def main(arguments: Sequence[str]) -> int:
    command = parse(DemoCommand, "demo", arguments)
    run = run_demo(epochs=command.epochs, seed=command.seed, out=command.out)
    assert run.before is not None
    for name in ("AP", "AP50"):
        print(f"{name:5} before {run.before.metrics[name]:.3f}   after {run.result.metrics[name]:.3f}")
    print(f"report: {run.folder}/report.html")
    if run.result.metrics["AP50"] < command.min_ap50:
        print(f"AP50 is below {command.min_ap50}: something is wrong")
        return 1
    return 0
