#!/usr/bin/env bash
# safetensors 0.8.0: the same tensors with the same metadata are written as other bytes from process to process, as soon
# as the metadata has more than one entry: its order in the header is not fixed. A hash of the file therefore does not
# tell whether two checkpoints hold the same, and reproducible builds are not; tensors and metadata read back alike.
#
# Output seen:  2 entries: more than one file in 24 processes; 1 entry: one file
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
cd "$folder"
cat > hash.py <<'PYTHON'
import hashlib
import sys

import numpy
from safetensors.numpy import save

metadata = dict(pair.split("=") for pair in sys.argv[1:])
print(hashlib.sha256(save({"weight": numpy.zeros(4, numpy.float32)}, metadata)).hexdigest())
PYTHON
hashes() { for _ in $(seq 24); do venv/bin/python hash.py "$@"; done | sort -u | wc -l; }
two=$(hashes format=pt epoch=12)
one=$(hashes format=pt)
echo "2 entries: $two different files in 24 processes; 1 entry: $one"
test "$two" -gt 1
test "$one" -eq 1
