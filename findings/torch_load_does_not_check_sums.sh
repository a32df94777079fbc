#!/usr/bin/env bash
# torch 2.14.1: a checkpoint of torch.save is a zip archive with a check sum for every tensor, but torch.load does not
# look at them: of a file in which one bit of a weight has turned over (a disk, a broken download) it returns another
# weight without a word, with weights_only=True and with mmap=True alike. zipfile of Python names the damaged entry.
#
# Output seen:  zipfile: archive/data/0 is damaged; torch.load: 1 of 1000 weights differs, nothing was raised
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import struct
import zipfile
from pathlib import Path

import torch

weights = torch.arange(1000, dtype=torch.float32)
torch.save({"weights": weights}, "archive.pt")
content = bytearray(Path("archive.pt").read_bytes())
place = content.find(struct.pack("<f", 500.0))
content[place + 2] ^= 0x40
Path("archive.pt").write_bytes(content)
damaged = zipfile.ZipFile("archive.pt").testzip()
for options in ({}, {"mmap": True}):
    loaded = torch.load("archive.pt", weights_only=True, **options)["weights"]
    assert int((loaded != weights).sum()) == 1
print(f"zipfile: {damaged} is damaged; torch.load: 1 of {len(weights)} weights differs, nothing was raised")
assert damaged == "archive/data/0"
PYTHON
