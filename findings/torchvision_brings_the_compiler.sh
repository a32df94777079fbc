#!/usr/bin/env bash
# torchvision 0.29.1 with torch 2.14.1: `import torchvision` loads torch's compiler. torch itself leaves torch._dynamo,
# sympy, torch.onnx and FSDP alone until somebody compiles or exports; torchvision.ops.roi_align asks torch._dynamo.utils
# one question while it is imported, and all of them come along (triton, too, where it is installed). A program that
# wants nothing but torchvision.ops.nms pays with as many modules again as torch has, a second, and memory.
# torchvision 0.28.0 with torch 2.13.0 does the same.
#
# Output seen:  torch: 1191 modules, none of the compiler; with torchvision: 2270, and torch._dynamo, sympy, torch.onnx,
#               torch.distributed.fsdp; resident memory 508 MB, then 681 MB
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import resource
import sys

LATE = ("torch._dynamo", "sympy", "torch.onnx", "torch.distributed.fsdp")


def megabytes() -> int:
    """The peak so far: KiB on Linux, bytes on macOS."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 1024**2)


import torch

before, memory = len(sys.modules), megabytes()
assert not [name for name in LATE if name in sys.modules]
import torchvision

loaded = [name for name in LATE if name in sys.modules]
print(
    f"torch: {before} modules, none of the compiler; with torchvision: {len(sys.modules)}, and {', '.join(loaded)};"
    f" resident memory {memory} MB, then {megabytes()} MB"
)
assert loaded == list(LATE) and len(sys.modules) > before + 800
PYTHON
