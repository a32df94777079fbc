#!/usr/bin/env bash
# Pillow 13.0.0: a TIFF whose orientation stands in its XMP packet alone (no tag 274) has one size when it is opened and
# another once its pixels are loaded: Image.size changes under the reader's hands. With tag 274 the size is the
# upright one from the start.
#
# Output seen:  opened (96, 64), loaded (64, 96)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0
cd "$folder"
venv/bin/python - <<'PYTHON'
from PIL import Image, TiffImagePlugin

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
tags = TiffImagePlugin.ImageFileDirectory_v2()
tags[700] = XMP.encode()
tags.tagtype[700] = 1
Image.new("RGB", (96, 64)).save("a.tif", tiffinfo=tags)
with Image.open("a.tif") as image:
    opened = image.size
    assert 274 not in image.tag_v2
    image.load()
    loaded = image.size
print(f"opened {opened}, loaded {loaded}")
assert (opened, loaded) == ((96, 64), (64, 96))
PYTHON
