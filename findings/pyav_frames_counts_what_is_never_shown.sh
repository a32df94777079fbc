#!/usr/bin/env bash
# PyAV 18.1.0: stream.frames of an MP4 that was trimmed without encoding (an edit list hides the packets before the
# cut) is the number of packets, 20, though decoding gives the 14 frames that are shown. Who compares the two to find
# files that are cut off finds every trimmed recording of a phone.
#
# Output seen:  frames 20, decoded 14
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.3.5
cd "$folder"
venv/bin/python - <<'PYTHON'
import av
import numpy as np

with av.open("plain.mp4", "w") as file:
    stream = file.add_stream("libx264", rate=10)
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    stream.options = {"g": "10"}
    for number in range(20):
        picture = np.full((64, 96, 3), 10 * number, np.uint8)
        file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    file.mux(stream.encode(None))

with av.open("plain.mp4") as source, av.open("trimmed.mp4", "w", options={"use_editlist": "1"}) as target:
    stream = source.streams.video[0]
    copy = target.add_stream_from_template(stream)
    cut = int(0.6 / stream.time_base)
    for packet in source.demux(stream):
        if packet.dts is not None:
            packet.pts -= cut
            packet.dts -= cut
            packet.stream = copy
            target.mux(packet)

with av.open("trimmed.mp4") as file:
    stated = file.streams.video[0].frames
    decoded = sum(1 for _ in file.decode(video=0))
print(f"frames {stated}, decoded {decoded}")
assert (stated, decoded) == (20, 14)
PYTHON
