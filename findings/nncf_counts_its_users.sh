#!/usr/bin/env bash
# nncf 3.4.0 (with openvino 2026.4.1 and openvino-telemetry 2025.2.0): quantising a model sends messages about it to
# Google Analytics, without asking; a client id is written to ~/intel when nncf is imported. NNCF_CI=1 stops the
# messages, but the id is still made; only CI=true leaves nothing. Nothing is printed in any of these cases.
#
# Output seen:  as installed: asks www.google-analytics.com; files: openvino_ga_cid, stats
#               NNCF_CI=1: asks nobody; files: openvino_ga_cid, stats
#               NNCF_CI=1 CI=true: asks nobody; files: none
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nncf==3.4.0 openvino==2026.4.1 openvino-telemetry==2025.2.0
cd "$folder"
cat > quantise.py <<'PYTHON'
import sys
from pathlib import Path
from urllib.parse import urlsplit

log = Path.home() / "asked"


def watch(event: str, arguments: tuple) -> None:
    """Also in the processes that are forked from here."""
    if event == "urllib.Request":
        with log.open("a") as file:
            file.write(f"{urlsplit(arguments[0]).hostname}\n")


sys.addaudithook(watch)

import nncf
import numpy as np
import openvino
from openvino import opset13 as ops

pixels = ops.parameter([1, 3, 8, 8], np.float32)
kernel = ops.constant(np.ones((4, 3, 3, 3), np.float32))
model = openvino.Model([ops.convolution(pixels, kernel, [1, 1], [1, 1], [1, 1], [1, 1])], [pixels], "one")
nncf.quantize(model, nncf.Dataset([np.zeros((1, 3, 8, 8), np.float32)] * 2))
PYTHON
try() { # variables, what the hosts and the files must be
    mkdir home
    env -u CI -u NNCF_CI HOME="$folder/home" $1 venv/bin/python quantise.py > said 2>&1 || { cat said; exit 1; }
    sleep 3
    asked=$(sort -u home/asked 2> /dev/null | tr '\n' ' ' || true)
    files=$(ls home/intel 2> /dev/null | sort | tr '\n' ' ' || true)
    echo "${1:-as installed}: asks ${asked:-nobody}; files: ${files:-none}"
    [ "$asked" = "$2" ] && [ "$files" = "$3" ]
    rm -rf home
}
try "" "www.google-analytics.com " "openvino_ga_cid stats "
try "NNCF_CI=1" "" "openvino_ga_cid stats "
try "NNCF_CI=1 CI=true" "" ""
