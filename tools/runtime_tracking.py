"""Write the linkers of pagoda-runtime from those of Pagoda: the same code, without checks, shapes and examples.

python tools/runtime_tracking.py          # tests/project/test_runtime_tracking.py holds the files to it

What needs torch or scipy there is written by hand for numpy: tracking/tracker.py and tracking/assignment.py.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE, TARGET = ROOT / "src/pagoda/tracking", ROOT / "runtime/src/pagoda_runtime/tracking"
FILES = ("association", "motion", "objects", "table", "pairs", "staged", "byte", "ocsort")
IMPORTS = {
    "from pagoda.structures.instances import Detections": "from pagoda_runtime.detections import Detections",
    "from pagoda.structures.tracks import UNLINKED": "from pagoda_runtime.tracking.tracker import UNLINKED",
    "from scipy.optimize import linear_sum_assignment": (
        "from pagoda_runtime.tracking.assignment import linear_sum_assignment"
    ),
    "from pagoda.plain import checked": "",
}
EXAMPLE = re.compile(r'\n+[ ]*>>> .*?(?=\n[ ]*""")', re.DOTALL)
ONE_LINE = re.compile(r'^( *"""[^\n]+)\n *"""$', re.MULTILINE)
SHAPE = re.compile(r'(?:Float|Int|Bool)\[np\.ndarray, "[^"]*"\]')


def for_runtime(text: str, name: str) -> str:
    """The module of that name as pagoda-runtime has it.

    >>> print(for_runtime('from jaxtyping import Float\\nfrom pagoda.tracking.motion import MotionModel', "byte"))
    # Written by tools/runtime_tracking.py from src/pagoda/tracking/byte.py: change that one.
    from pagoda_runtime.tracking.motion import MotionModel
    """
    for before, after in IMPORTS.items():
        text = text.replace(before, after)
    text = re.sub(r"from jaxtyping import .*\n", "", text)
    text = text.replace("from pagoda.tracking", "from pagoda_runtime.tracking")
    text = re.sub(r"^ *@checked\n", "", text, flags=re.MULTILINE)
    text = ONE_LINE.sub(r'\1"""', EXAMPLE.sub("", text))
    text = SHAPE.sub("np.ndarray", text)
    return (
        f"# Written by tools/runtime_tracking.py from src/pagoda/tracking/{name}.py: change that one.\n{text}"
    )


def main() -> None:
    paths = []
    for name in FILES:
        text = for_runtime((SOURCE / f"{name}.py").read_text(encoding="utf-8"), name)
        paths.append(TARGET / f"{name}.py")
        paths[-1].write_text(text, encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "ruff", "check", "-q", "--fix", "--select", "I,F401", *paths], check=True
    )
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", *paths], check=True)


if __name__ == "__main__":
    main()
