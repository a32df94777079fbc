"""What a model expects of its pictures, and the way there: resize, normalise, pad, batch.

A clip is T frames of one size; wherever a picture (3, H, W) can stand, a clip (T, 3, H, W) can. B pictures
or clips. Networks that read grey are handed RGB all the same and turn it grey when they normalise; pictures of
networks with a fourth channel have one (RGBA), or are taken to be opaque.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from pagoda.ops.anchors import Side
from pagoda.ops.boxes import clip_boxes
from pagoda.ops.resize import antialiased, between_corners, bilinear, resizes_across_first
from pagoda.plain import JsonObject, check_numbers, checked, from_plain
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.tubes import Tubes

Found = TypeVar("Found", Detections, Tubes)
Rounding = Literal["nearest", "torchvision", "maskrcnn_benchmark"]
Resample = Literal["antialias", "bicubic", "float", "corners"]
Fit = Literal["resize", "letterbox", "corner", "stretch"]
LONGEST_SIDE = 2**15
"""pixels; what no picture is resized to"""
IN_FLOATS = ("float", "corners")
"""of `Resample`, those that resize normalised pixels"""
LARGEST = 1e9
"""of scale, mean and std; its inverse is the smallest scale and std: beyond, float32 pixels are infinite"""


@checked
@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a model's pictures must be like, as its weights were trained; travels with every model. RGB order.

    As many numbers as `mean` and `std` have, so many channels the network reads: three; one, which is grey (0.299
    red + 0.587 green + 0.114 blue, as Pillow rounds it); or four, whose last is the opacity. Raises ValueError for
    settings that do not go together.
    """

    short_side: int = 800
    """pixels; the shorter side is resized to this, aspect kept"""
    long_side: int = 1333
    """pixels; unless the longer side would pass this"""
    rounding: Rounding = "nearest"
    """how sides become whole: "nearest" (detectron2), or as torchvision or maskrcnn-benchmark cut them"""
    resample: Resample = "antialias"
    """bilinear with antialiasing on uint8; "bicubic": Pillow's, the same pixels; "float": normalised first,
    then bilinear without antialiasing (torchvision's detectors); "corners": likewise, the outermost pixels staying
    outermost (darknet)"""
    fit: Fit = "resize"
    """"resize" as the three sizes above say; else the three do not count and the picture is scaled to fit
    `canvas`: "letterbox" in its middle (bubbliiiing), "corner" top left (EfficientDet), "stretch" each side for
    itself to all of it (SSD; bubbliiiing's letterbox_image=False)"""
    canvas: tuple[int, int] | None = None
    """(height, width) of the frame for "letterbox", "corner" and "stretch"; batches are at least as large"""
    border: int | tuple[int, int, int] = 128
    """0 … 255, grey or RGB: what fills the rest of the canvas, before normalising"""
    channel_order: Literal["RGB", "BGR"] = "RGB"
    """in which the network reads them; pictures are handed over as RGB all the same"""
    scale: float = 255.0
    """pixels are divided by this before `mean` and `std`"""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """per channel, taken off the pixels divided by `scale` (ImageNet's)"""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    """per channel, what they are divided by then"""
    pad_multiple: int = 32
    """batches are padded with zeros at the bottom and right to this multiple"""

    def __post_init__(self) -> None:
        if (self.fit == "resize") != (self.canvas is None):
            raise ValueError(
                'fit="letterbox", "corner" and "stretch" need canvas=(height, width), and fit="resize" has none;'
                f" got fit={self.fit!r} and canvas={self.canvas}"
            )
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3, 4):
            raise ValueError(
                "pictures have one channel (grey), three (RGB) or four (RGBA), each with a mean and a std; got"
                f" mean={self.mean} and std={self.std}"
            )
        sides = (self.short_side, self.long_side, *(self.canvas or ()))
        if not all(1 <= side <= LONGEST_SIDE for side in sides) or not 1 <= self.pad_multiple <= LONGEST_SIDE:
            raise ValueError(
                f"short_side, long_side, canvas and pad_multiple are 1 … {LONGEST_SIDE} pixels, got {sides} and"
                f" {self.pad_multiple}"
            )
        numbers = (self.scale, *self.mean, *self.std)
        if not all(abs(number) <= LARGEST for number in numbers) or any(
            abs(number) * LARGEST < 1 for number in (self.scale, *self.std)
        ):
            raise ValueError(
                f"scale, mean and std must be finite, at most {LARGEST:g}, and scale and std not 0, got {numbers}"
            )
        check_numbers(self, 0, 255, "border")
        if self.resample == "float" and self.fit not in ("resize", "stretch"):
            raise ValueError(f'resample="float" goes with fit="resize" or "stretch", got fit={self.fit!r}')

    @property
    def channels(self) -> int:
        """How many the network reads."""
        return len(self.mean)

    @property
    def read_channels(self) -> Literal[3, 4]:
        """How many the pictures have that are handed over: RGB also where the network reads grey."""
        return 4 if self.channels == 4 else 3

    def to_dict(self) -> JsonObject:
        """The settings by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: JsonObject) -> "InputSpec":
        """The spec that `to_dict` wrote. Raises ValueError for settings a newer version may have written."""
        return from_plain(cls, data, "input_spec.")

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) after resizing a picture of this (height, width), without any border.

        >>> InputSpec().resized((480, 640)), InputSpec(rounding="maskrcnn_benchmark").resized((400, 3000))
        ((800, 1067), (178, 1335))
        >>> InputSpec(fit="letterbox", canvas=(600, 600)).resized((480, 640))
        (450, 600)
        """
        if self.canvas is not None:
            if self.fit == "stretch":
                return self.canvas
            scale = min(self.canvas[0] / size[0], self.canvas[1] / size[1])
            return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
        short, long = min(size), max(size)
        if self.rounding == "maskrcnn_benchmark":
            target = self.short_side
            if long / short * target > self.long_side:
                target = round(self.long_side * short / long)
            sides = (target, int(target * long / short))
            return sides if size[0] <= size[1] else (sides[1], sides[0])
        if self.rounding == "torchvision":
            scale = min(self.short_side / short, self.long_side / long)
            return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
        scale = self.short_side / short
        height, width = size[0] * scale, size[1] * scale
        if max(height, width) > self.long_side:
            again = self.long_side / max(height, width)
            height, width = height * again, width * again
        return max(1, int(height + 0.5)), max(1, int(width + 0.5))

    def frame(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) that a picture of this size takes in a batch, its border included."""
        return self.canvas or self.resized(size)

    def offset(self, size: tuple[int, int]) -> tuple[int, int]:
        """(top, left) of the resized picture in its frame."""
        if self.fit != "letterbox":
            return 0, 0
        (height, width), (frame_height, frame_width) = self.resized(size), self.frame(size)
        return (frame_height - height) // 2, (frame_width - width) // 2

    def resize(self, picture: Tensor) -> Tensor:
        """uint8 (3, H, W) or (T, 3, H, W) to the size of `resized`; letterboxed, to that of the canvas.

        With resample="float" or "corners" this rounds to whole grey values what `prepare` keeps as it is.
        """
        before = (picture.shape[-2], picture.shape[-1])
        after = self.resized(before)
        return self._framed(picture if after == before else self._resample(picture, after), before)

    @property
    def takes_strips(self) -> bool:
        """Whether `resize_strips` makes what `resize` does, on this machine."""
        return self.resample == "antialias" and resizes_across_first()

    def resize_strips(self, strips: Iterable[Tensor], size: tuple[int, int]) -> Tensor:
        """What `resize` makes of a picture of this (height, width) that comes as strips (3, h, W) from top to bottom.

        The same bits where `takes_strips`; never more than one strip, and all rows at the new width, are held.
        """
        after = self.resized(size)
        narrow = torch.empty(size[0], after[1], 3, dtype=torch.uint8).permute(2, 0, 1)
        top = 0
        for strip in strips:
            bottom = top + strip.shape[-2]
            narrow[:, top:bottom] = antialiased(strip, (strip.shape[-2], after[1]))
            top = bottom
        return self._framed(antialiased(narrow, after), size)

    def _framed(self, picture: Tensor, before: tuple[int, int]) -> Tensor:
        """A resized picture, which had this size before, within its border."""
        if self.fit != "letterbox":
            return picture
        color = self._border_color(picture.device)[: picture.shape[-3]]
        color = color if picture.dtype == torch.uint8 else self.normalize(color)
        frame = color.expand(*picture.shape[:-2], *self.frame(before)).clone()
        (top, left), (height, width) = self.offset(before), picture.shape[-2:]
        frame[..., top : top + height, left : left + width] = picture
        return frame

    def _resample(self, picture: Tensor, size: tuple[int, int]) -> Tensor:
        if self.resample == "antialias":
            return antialiased(picture, size)
        if self.resample in IN_FLOATS:
            return self._in_floats(picture.to(torch.float32), size).round().to(torch.uint8)
        if picture.ndim == 4:
            return torch.stack([self._resample(frame, size) for frame in picture])
        if len(picture) == 4:  # Pillow would weigh colours by their opacity
            parts = [self._resample(part, size) for part in (picture[:3], picture[3:].expand(3, -1, -1))]
            return torch.cat([parts[0], parts[1][:1]])
        # Pillow's own: torchvision's differs in one of two hundred values.
        image = Image.fromarray(picture.cpu().permute(1, 2, 0).contiguous().numpy())
        resized = np.array(image.resize((size[1], size[0]), Image.Resampling.BICUBIC))
        return torch.from_numpy(resized).permute(2, 0, 1).to(picture.device)

    def _border_color(self, device: torch.device) -> Tensor:
        """uint8 (3, 1, 1), or (4, 1, 1) with an opaque one."""
        colors = torch.tensor(self.border, dtype=torch.uint8, device=device).expand(3)
        return with_channels(colors[:, None, None], self.read_channels)

    def _normal_border(self, pixels: Tensor) -> Tensor:
        """(C, 1, 1), with a third 1 for clips: the border's colour among normalised (B, C, …) pixels."""
        return self.normalize(self._border_color(pixels.device)).view(-1, *[1] * (pixels.ndim - 2))

    def normalize(self, pixels: Tensor) -> Tensor:
        """RGB 0 … 255, any dtype (…, 3, H, W), to the floats (…, C, H, W) the network reads; exports."""
        pixels = with_channels(pixels, self.channels)
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None]
        std = torch.tensor(self.std, device=pixels.device)[:, None, None]
        pixels = pixels.to(torch.float32, copy=True)
        lines = pixels
        if pixels.ndim == 3 and pixels.permute(1, 2, 0).is_contiguous():
            # As pictures are read, colours lie side by side: whole lines at once, not three numbers at a time.
            lines = pixels.permute(1, 2, 0).flatten(1)
            mean, std = (values.flatten().repeat(pixels.shape[2]) for values in (mean, std))
        # In this order, so that the last bits are those of the programs which the weights are from.
        lines.div_(self.scale).sub_(mean).div_(std)
        if self.channel_order == "RGB" or self.channels == 1:
            return pixels
        if self.channels == 3:
            return pixels.flip(-3)
        return torch.cat([pixels[..., :3, :, :].flip(-3), pixels[..., 3:, :, :]], dim=-3)

    def padded(self, side: Side) -> Side:
        """The side after padding to the multiple; exports."""
        return (side + self.pad_multiple - 1) // self.pad_multiple * self.pad_multiple

    def pad(self, pixels: Tensor) -> Tensor:
        """Normalised (B, 3, H, W) or (B, 3, T, H, W), all of one size, to that which `batch` gives them; exports."""
        height, width = pixels.shape[-2], pixels.shape[-1]
        # Without a canvas no comparison either, which would stay in an exported graph.
        tall = height if self.canvas is None else torch.sym_max(height, self.canvas[0])
        wide = width if self.canvas is None else torch.sym_max(width, self.canvas[1])
        bottom, right = self.padded(tall) - height, self.padded(wide) - width
        padded = pad(pixels, (0, right, 0, bottom))  # type: ignore[arg-type]
        if self.fit != "corner":
            return padded
        is_border = 1 - pad(torch.ones_like(pixels[:1, :1]), (0, right, 0, bottom))  # type: ignore[arg-type]
        return padded + self._normal_border(pixels) * is_border

    def batch(self, pictures: Sequence[Tensor], *, device: torch.device | str | None = None) -> ImageBatch:
        """uint8 pictures (3, H, W) of any sizes, as they are: normalised, padded to one size, stacked.

        Clips (T, 3, H, W) become pixels (B, 3, T, H, W). ValueError where T differs, or pictures stand among them.
        """
        sizes = [(picture.shape[-2], picture.shape[-1]) for picture in pictures]
        normalized = (self.normalize(picture.to(device, non_blocking=True)) for picture in pictures)
        return self._stack(normalized, sizes, _num_frames(pictures), device)

    def prepare(self, pictures: Sequence[Tensor], *, device: torch.device | str | None = None) -> ImageBatch:
        """The `batch` of pictures of any sizes, each resized first."""
        if self.resample not in IN_FLOATS:
            return self.batch([self.resize(picture) for picture in pictures], device=device)
        sizes = [self.resized((picture.shape[-2], picture.shape[-1])) for picture in pictures]
        normalized = (self.normalize(picture.to(device, non_blocking=True)) for picture in pictures)
        resized = (self._in_floats(pixels, size) for pixels, size in zip(normalized, sizes, strict=True))
        if self.fit == "letterbox":
            befores = [(picture.shape[-2], picture.shape[-1]) for picture in pictures]
            resized = (self._framed(pixels, before) for pixels, before in zip(resized, befores, strict=True))
            sizes = [self.frame(before) for before in befores]
        return self._stack(resized, sizes, _num_frames(pictures), device)

    def _in_floats(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        return bilinear(pixels, size) if self.resample == "float" else between_corners(pixels, size)

    def _stack(
        self,
        normalized: Iterable[Tensor],
        sizes: list[tuple[int, int]],
        frames: tuple[int, ...],
        device: torch.device | str | None,
    ) -> ImageBatch:
        """One batch of pictures that come one by one, so that no second copy of all is held."""
        least = self.canvas or (0, 0)
        height, width = (self.padded(max(sides)) for sides in zip(least, *sizes, strict=True))
        # Channels last: convolutions follow the layout of their input, and this one is the faster everywhere.
        order = torch.channels_last_3d if frames else torch.channels_last
        shape = (len(sizes), self.channels, *frames, height, width)
        pixels = torch.empty(shape, device=device, memory_format=order).zero_()
        if self.fit == "corner":
            pixels += self._normal_border(pixels)
        for image, (picture, (h, w)) in enumerate(zip(normalized, sizes, strict=True)):
            pixels[image, ..., :h, :w] = picture.movedim(-3, 0)
        return ImageBatch(pixels, torch.tensor(sizes, dtype=torch.long, device=pixels.device))

    def to_frame(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """(…, 4) boxes in a picture of (height, width), moved to where they are in its frame."""
        (height, width), (top, left) = self.resized(size), self.offset(size)
        scale = boxes.new_tensor([width / size[1], height / size[0]]).repeat(2)
        return boxes * scale + boxes.new_tensor([left, top]).repeat(2)

    def restore(self, detections: Sequence[Found], sizes: Sequence[tuple[int, int]]) -> list[Found]:
        """The way back: detections or tubes in pixels of the pictures they came from, (height, width) each."""
        restored = []
        for found, size in zip(detections, sizes, strict=True):
            height, width = self.resized(size) if self.fit == "letterbox" else found.image_size
            top, left = self.offset(size)
            scale = found.boxes.new_tensor([size[1] / width, size[0] / height])
            start = found.boxes.new_tensor([left, top])
            boxes = (found.boxes - start.repeat(2)) * scale.repeat(2)
            points = found.keypoints if found.keypoints is None else (found.keypoints - start) * scale
            restored.append(replace(found, boxes=clip_boxes(boxes, size), keypoints=points, image_size=size))
        return restored


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """(…, 3 or 4, H, W) of 0 … 255 as so many: grey as Pillow mixes it, or with an opacity of 255 where none is.

    >>> with_channels(torch.tensor([200, 100, 0], dtype=torch.uint8)[:, None, None], 1).flatten().tolist()
    [118]
    """
    count = pixels.shape[-3]
    if count == channels:
        return pixels
    if channels == 4:
        return torch.cat([pixels, torch.full_like(pixels[..., :1, :, :], 255)], dim=-3)
    if channels == 3:
        return pixels[..., :3, :, :]
    red, green, blue = (pixels[..., index : index + 1, :, :] for index in range(3))
    if pixels.is_floating_point():
        return 0.299 * red + 0.587 * green + 0.114 * blue
    mixed = red.to(torch.int32) * 19595 + green.to(torch.int32) * 38470 + blue.to(torch.int32) * 7471
    return ((mixed + 32768) // 65536).to(pixels.dtype)


def _num_frames(pictures: Sequence[Tensor]) -> tuple[int, ...]:
    """(T,) of clips, () of pictures."""
    shapes = {tuple(picture.shape[:-3]) for picture in pictures}
    if len(shapes) != 1 or len(min(shapes)) > 1:
        told = ", ".join(str(tuple(picture.shape)) for picture in pictures) or "nothing"
        raise ValueError(
            f"a batch needs pictures (3, H, W), or clips (T, 3, H, W) of equal length, got {told}"
        )
    return shapes.pop()
