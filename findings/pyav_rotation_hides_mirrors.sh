#!/usr/bin/env bash
# PyAV 18.1.0: VideoFrame.rotation is -180 for a track that is turned by 180 degrees and -180 for one that is mirrored
# left to right. Who turns frames by it shows mirrored recordings upside down; only the display matrix in
# frame.side_data tells the two apart.
#
# Output seen:  turned: rotation -180   mirrored: rotation -180   matrices differ: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.3.5
cd "$folder"
venv/bin/python - <<'PYTHON'
import struct

import av
import numpy as np

with av.open("plain.mp4", "w") as file:
    stream = file.add_stream("libx264", rate=10)
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    for _ in range(4):
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")))
    file.mux(stream.encode(None))

ONE, LAST = 1 << 16, 1 << 30
MATRICES = {
    "turned": (-ONE, 0, 0, 0, -ONE, 0, 0, 0, LAST),
    "mirrored": (-ONE, 0, 0, 0, ONE, 0, 0, 0, LAST),
}


def first_frame(name, matrix):
    """The first frame of a copy of the file whose track header holds the matrix."""
    content = bytearray(open("plain.mp4", "rb").read())
    header = content.index(b"tkhd") + 4
    start = header + (40 if content[header] == 0 else 52)
    content[start : start + 36] = struct.pack(">9i", *matrix)
    open(f"{name}.mp4", "wb").write(content)
    with av.open(f"{name}.mp4") as file:
        return next(file.decode(video=0))


frames = {name: first_frame(name, matrix) for name, matrix in MATRICES.items()}
stored = {name: bytes(frame.side_data.get("DISPLAYMATRIX")) for name, frame in frames.items()}
differ = stored["turned"] != stored["mirrored"]
print(*(f"{name}: rotation {frame.rotation}  " for name, frame in frames.items()), f"matrices differ: {differ}")
assert [frame.rotation for frame in frames.values()] == [-180, -180] and differ
PYTHON
