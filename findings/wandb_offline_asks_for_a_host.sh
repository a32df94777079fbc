#!/usr/bin/env bash
# wandb 0.31.0 with mode="offline": no metric is sent, yet at the end of the run the process looks up
# api.forge.coreweave.com, to which it would report about itself. Where a machine may not talk to others that shows as a
# forbidden lookup, or as an exit that waits for it. Offline mode does not turn these reports off;
# WANDB_ERROR_REPORTING=false does, whose name speaks of errors alone. Seen with Python's own audit events.
#
# Output seen:  as it is: looked up api.forge.coreweave.com
#               with WANDB_ERROR_REPORTING=false: looked up nothing
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet wandb==0.31.0
cd "$folder"
cat > run.py <<'PYTHON'
import sys


def note(event: str, arguments: tuple) -> None:
    if event == "socket.getaddrinfo":
        with open("hosts.txt", "a") as file:
            file.write(f"{arguments[0]}\n")


sys.addaudithook(note)
import wandb

run = wandb.init(project="p", dir=".", mode="offline", settings={"silent": True})
run.log({"loss": 1.0})
run.finish()
PYTHON

hosts_of() { # of a run in this environment
    : > hosts.txt
    env -u WANDB_ERROR_REPORTING "$@" venv/bin/python run.py > /dev/null 2>&1
    sort -u hosts.txt | paste -sd ' '
}
plain=$(hosts_of WANDB_SILENT=true)
quiet=$(hosts_of WANDB_ERROR_REPORTING=false)
echo "as it is: looked up ${plain:-nothing}"
echo "with WANDB_ERROR_REPORTING=false: looked up ${quiet:-nothing}"
[ "$plain" = api.forge.coreweave.com ] && [ -z "$quiet" ]
