#!/usr/bin/env bash
# torch 2.14.1, processors with AVX2: an RGB picture of bytes cannot be shrunk to one pixel by the antialiased resize. It
# fails from a height of 2 on, alone and in batches; grey pictures, those of four channels, floats, and the same bytes
# with channels last (as Pillow and OpenCV hand them over) all come out right. The quick path for three interleaved channels writes
# into a tensor of one pixel, whose strides fit every memory format, and trips over its own check of channels. Thumbnails,
# the coarsest level of an image pyramid and tests with tiny pictures meet it.
#
# Output seen:  contiguous RGB: RuntimeError, num_channels == unpacked_output.size(0) INTERNAL ASSERT FAILED
#               channels last [7, 7, 7], float [7, 7, 7], grey [7], four channels [7, 7, 7, 7]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import torch
from torch.nn.functional import interpolate

if "AVX2" not in torch.backends.cpu.get_cpu_capability() and "AVX512" not in torch.backends.cpu.get_cpu_capability():
    raise SystemExit("seen on processors with AVX2 only; this one computes another way")


def to_one_pixel(picture: torch.Tensor) -> list:
    return interpolate(picture, size=(1, 1), mode="bilinear", antialias=True)[0].double().round().int().flatten().tolist()


rgb = torch.full((1, 3, 8, 6), 7, dtype=torch.uint8)
try:
    said = to_one_pixel(rgb)
except RuntimeError as error:
    said = f"RuntimeError, {str(error).split(' at ')[0]}"
print("contiguous RGB:", said)
others = {
    "channels last": rgb.contiguous(memory_format=torch.channels_last),
    "float": rgb.float(),
    "grey": rgb[:, :1].contiguous(),
    "four channels": torch.cat([rgb, rgb[:, :1]], 1),
}
found = {name: to_one_pixel(picture) for name, picture in others.items()}
print(", ".join(f"{name} {pixels}" for name, pixels in found.items()))
assert "INTERNAL ASSERT FAILED" in said
assert all(set(pixels) == {7} for pixels in found.values())
PYTHON
