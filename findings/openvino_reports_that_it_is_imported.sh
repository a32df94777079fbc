#!/usr/bin/env bash
# openvino 2026.4.1 (with the openvino-telemetry 2025.2.0 that it requires): `import openvino` alone sends a message to
# Google Analytics and writes a client id to ~/intel, without a word and without asking, also in a script without a
# terminal; nothing has to be converted or run. Only CI=true (or another sign of a test farm) in the environment before
# the import keeps it silent; the opt-out command needs to be run once per home, so a container starts anew each time.
#
# Output seen:  as installed: asks www.google-analytics.com; files in ~/intel: openvino_ga_cid stats
#               CI=true: asks nobody; files in ~/intel: none
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 openvino-telemetry==2025.2.0 numpy==2.4.6
cd "$folder"
cat > use.py <<'PYTHON'
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

log = Path.home() / "asked"


def watch(event: str, arguments: tuple) -> None:
    """Also in the process that is forked to send."""
    if event == "urllib.Request":
        with log.open("a") as file:
            file.write(f"{urlsplit(arguments[0]).hostname}\n")


sys.addaudithook(watch)

import openvino

openvino.Core()
time.sleep(3)
PYTHON
try() { # the environment, the hosts and the files that are expected
    mkdir home
    env -u CI HOME="$folder/home" $1 venv/bin/python use.py < /dev/null > said 2>&1 || { cat said; exit 1; }
    asked=$(sort -u home/asked 2> /dev/null | tr '\n' ' ' || true)
    files=$(ls home/intel 2> /dev/null | sort | tr '\n' ' ' || true)
    echo "${1:-as installed}: asks ${asked:-nobody}; files in ~/intel: ${files:-none}"
    [ "$asked" = "$2" ] && [ "$files" = "$3" ]
    rm -rf home
}
try "" "www.google-analytics.com " "openvino_ga_cid stats "
try "CI=true" "" ""
