"""pagoda demo · pagoda demo --video"""

from collections.abc import Sequence
from dataclasses import dataclass

from pagoda.cli.arguments.parsing import parse
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.plain import checked


@checked
@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """Train a small FCOS on drawn shapes, on the CPU, in three to seven minutes.

    pagoda demo
    pagoda demo --video

    The second one trains Detect-and-Track on drawn people who walk about, follows and scores them, in about six
    minutes on two cores.
    """

    video: bool = False
    """clips instead of pictures: find people with their poses, follow them, write an annotated video"""
    epochs: int | None = None
    """default: what the demonstration needs"""
    seed: int = 0
    """of the drawn data, of the first weights and of training"""
    out: str = "runs"
    """folder for runs"""
    min_ap50: float = 0.6
    """exit with 1 when AP50 of boxes stays below"""


def main(arguments: Sequence[str]) -> int:
    command = parse(DemoCommand, "demo", arguments)
    result = _show_video(command) if command.video else _show_pictures(command)
    if result.metrics["AP50"] < command.min_ap50:
        print(f"AP50 is below {command.min_ap50}: something is wrong")
        return 1
    return 0


def _show_pictures(command: DemoCommand) -> DetectionResult:
    from pagoda.recipes.demo import EPOCHS, run_demo

    epochs = EPOCHS if command.epochs is None else command.epochs
    run = run_demo(epochs=epochs, seed=command.seed, out=command.out)
    assert run.before is not None
    for name in ("AP", "AP50"):
        print(f"{name:5} before {run.before.metrics[name]:.3f}   after {run.result.metrics[name]:.3f}")
    print(f"report: {run.folder}/report.html")
    return run.result


def _show_video(command: DemoCommand) -> DetectionResult:
    from pagoda.follow.score import summary_table
    from pagoda.recipes.demo_video import EPOCHS, run_demo_video

    epochs = EPOCHS if command.epochs is None else command.epochs
    demo = run_demo_video(epochs=epochs, seed=command.seed, out=command.out)
    metrics, folder = demo.run.result.metrics, demo.run.folder
    print(
        f"AP of boxes {metrics['AP']:.3f}, AP50 {metrics['AP50']:.3f}, of poses {metrics['keypoints/AP']:.3f}"
    )
    print(f"\n{summary_table(demo.following)}\n")
    print(f"video:   {demo.video}")
    print(
        f"weights: {folder}/best.safetensors, to be used with: pagoda track {folder}/best.safetensors VIDEO"
    )
    print(f"report:  {folder}/report.html, scores of every joint and video: {folder}/following.json")
    return demo.run.result
