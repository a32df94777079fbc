"""effdet's own EfficientDet behind the calls of torchvision's detectors, so that the same loops train and score it."""

import effdet
import torch
from torch import Tensor, nn

from pagoda.preprocess import InputSpec

YX_TO_XY = [1, 0, 3, 2]


def effdet_network(name: str, num_classes: int, canvas: tuple[int, int]) -> nn.Module:
    """`effdet.EfficientDet` for pictures of (height, width), from scratch."""
    config = effdet.get_efficientdet_config(name)
    config.image_size, config.num_classes = canvas, num_classes
    return effdet.EfficientDet(config, pretrained_backbone=False)


class EffdetPeer(nn.Module):
    """In training pictures and targets to losses; in evaluation pictures to detections. Pictures are 0 … 1."""

    def __init__(self, name: str, num_classes: int, canvas: tuple[int, int]) -> None:
        super().__init__()
        self.spec = InputSpec(fit="corner", canvas=canvas, border=(124, 116, 104), pad_multiple=1)
        self.bench = effdet.DetBenchTrain(effdet_network(name, num_classes, canvas))

    def forward(self, pictures: list[Tensor], targets: list[dict[str, Tensor]] | None = None):
        pictures = [(255 * picture).round().to(torch.uint8) for picture in pictures]
        if targets is None:
            return [self.detect(picture) for picture in pictures]
        most = max(1, *(len(target["labels"]) for target in targets))
        boxes, labels = torch.zeros(len(targets), most, 4), torch.full((len(targets), most), -1.0)
        for row, target in enumerate(targets):
            count = len(target["labels"])
            boxes[row, :count] = target["boxes"][:, YX_TO_XY]
            labels[row, :count] = target["labels"] + 1.0
        pixels = self.spec.batch(pictures).pixels.contiguous()
        return {"loss": self.bench(pixels, {"bbox": boxes, "cls": labels})["loss"]}

    def detect(self, picture: Tensor) -> dict[str, Tensor]:
        """Through its bench for predictions, which wants the size of the picture and its scale."""
        bench = effdet.DetBenchPredict(self.bench.model).eval()
        images = self.spec.prepare([picture])
        height, width = picture.shape[-2:]
        scale = width / images.sizes[0, 1].item()
        (rows,) = bench(
            images.pixels.contiguous(),
            {"img_scale": torch.tensor([scale]), "img_size": torch.tensor([[width, height]]).float()},
        )
        rows = rows[rows[:, 4] > 0.001]
        return {"boxes": rows[:, :4], "scores": rows[:, 4], "labels": rows[:, 5].long() - 1}
