#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1): a video that a server sends over HTTP without saying how long it is, which HTTP/1.0 ends by
# closing the connection, does not end for `container.decode`: after the last packet it raises an input/output error
# (EIO, errno 5), as a broken connection does, and frames that the decoder still holds are never given. The same bytes
# with a Content-Length, or from a file, end as a loop ends, with all frames. So whoever takes the error for a lost
# connection asks again for ever, and whoever takes it for the end loses the last frames.
#
# Output seen:  file: 30 frames, ended; with a length: 30 frames, ended; without: 28 frames, OSError errno 5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cd "$folder"
cat > run.py <<'PYTHON'
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np

with av.open("film.ts", "w") as film:
    stream = film.add_stream("libx264", rate=25, options={"bf": "2", "threads": "1"})
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for number in range(30):
        picture = np.full((48, 64, 3), 8 * number, np.uint8)
        for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
            film.mux(packet)
    for packet in stream.encode(None):
        film.mux(packet)


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        data = Path("film.ts").read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        if self.path == "/length":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words):
        pass


def watched(source: str) -> str:
    count = 0
    try:
        with av.open(source) as film:
            film.streams.video[0].codec_context.thread_count = 1
            for _ in film.decode(video=0):
                count += 1
    except av.FFmpegError as error:
        return f"{count} frames, {type(error).__mro__[2].__name__} errno {error.errno}"
    return f"{count} frames, ended"


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
place = f"http://127.0.0.1:{server.server_port}"
said = [watched("film.ts"), watched(f"{place}/length"), watched(f"{place}/open")]
print(f"file: {said[0]}; with a length: {said[1]}; without: {said[2]}")
assert said[0] == said[1] == "30 frames, ended" and said[2] != said[0] and "errno 5" in said[2]
PYTHON
venv/bin/python run.py
