"""Faster, Mask and Keypoint R-CNN R50-FPN beside torchvision's: the same weights, picture (480×640) and objects.

    python benchmarks/region_inference.py --repeats 9 --threads 2
    python benchmarks/region_inference.py --models keypoint_rcnn --repeats 5 --threads 1 --clock cpu

Peer and variants run alternately in one process, from the same uint8 picture to final detections, masks pasted.
torchvision's network is built with random weights and the frozen norms of its published models; layers that
decide are rescaled so that proposals differ and as many (region, class) pairs pass the threshold as on a street scene,
which leaves some 100 objects. Pagoda loads the peer's state dict as it would a published one. Both must then
find the same objects, or nothing is printed.

Post-processing is what follows the last head that it waits for: scores, selection and suppression of
regions, pasting of masks, decoding of keypoints. Choosing the proposals is told apart from it.

`--clock cpu` counts processor time instead, which a busy machine disturbs less (use it with one thread).
"""

import argparse
import platform
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
import torchvision
from inference import CLOCKS, cpu_name, network_flops, print_table, roof, timings
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

import pagoda
from pagoda.detectors.rcnn import RCNN
from pagoda.structures.instances import Detections

HEIGHT, WIDTH = 480, 640
PASSING = 360
"""(region, class) pairs above the threshold of 0.05"""
PEERS: dict[str, Callable[..., FasterRCNN]] = {
    "faster_rcnn": FasterRCNN,
    "mask_rcnn": MaskRCNN,
    "keypoint_rcnn": KeypointRCNN,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=PEERS, default=["faster_rcnn", "mask_rcnn"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{cpu_name()}, {options.threads} threads, {options.clock} clock;", end=" ")
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}"
    )
    with torch.inference_mode():
        for name in options.models:
            compare(name, options.repeats, CLOCKS[options.clock])


def compare(name: str, repeats: int, clock: Callable[[], float]) -> None:
    model, picture, peer = pair(name)
    variants = {
        "eager fp32": model,
        "channels_last fp32": deepcopy(model).to(memory_format=torch.channels_last),
        "optimized fp32": pagoda.optimize(model),
        "optimized bf16": pagoda.optimize(model, dtype=torch.bfloat16),
    }
    ordered = deepcopy(peer).to(memory_format=torch.channels_last)
    runs: dict[str, Callable[[], object]] = {
        "torchvision eager fp32": lambda: peer([picture / 255]),
        "torchvision channels_last fp32": lambda: ordered([picture / 255]),
    }
    for label, variant in variants.items():
        runs[label] = lambda variant=variant: run(variant, picture)
    runs["post-processing alone"] = postprocessing(model, picture)
    runs["choice of proposals"] = choice_of_proposals(model, picture)
    runs |= {"roof fp32": roof(torch.float32), "roof bf16": roof(torch.bfloat16)}
    medians, fastest = timings(runs, repeats, clock)
    choosing = medians.pop("choice of proposals")
    print_table(name, "torchvision", medians, fastest, network_flops(model, picture))
    print(
        f"choice of proposals: {choosing * 1e3:.1f} ms, {choosing / medians['eager fp32']:.1%} of eager fp32"
    )


def pair(name: str) -> tuple[RCNN, Tensor, FasterRCNN]:
    """Pagoda's model, a picture and the peer's, which find the same."""
    torch.manual_seed(0)
    picture = torch.randint(0, 256, (3, HEIGHT, WIDTH), dtype=torch.uint8)
    peer = torchvision_network(name)
    make_sane(peer, picture)
    model = loaded(peer)
    (expected,), found = peer([picture / 255]), run(model, picture)
    check_same(found, expected)
    print(f"\n{name}: {len(found)} objects")
    return model, picture, peer


def torchvision_network(name: str) -> FasterRCNN:
    """As its builders make it for published weights, whose norms have epsilon 0."""
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d)
    num_classes = 2 if name == "keypoint_rcnn" else 91
    peer = PEERS[name](backbone, num_classes, min_size=HEIGHT, max_size=WIDTH).eval()
    for module in peer.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0
    return peer


def make_sane(peer: FasterRCNN, picture: Tensor) -> None:
    """Rescale the layers that decide so that their outputs are spread as a trained network's."""
    for name, tensor in peer.named_buffers():
        if name.endswith("bn3.weight"):
            tensor.fill_(0.2)  # else activations grow from block to block
    rpn, boxes = peer.rpn.head, peer.roi_heads.box_predictor
    spread_out(rpn.cls_logits, lambda: peer([picture / 255]), 2.0)
    spread_out(rpn.bbox_pred, lambda: peer([picture / 255]), 0.2)
    spread_out(boxes.bbox_pred, lambda: peer([picture / 255]), 0.5)
    logits = spread_out(boxes.cls_score, lambda: peer([picture / 255]), 2.0)
    # The background's logit is raised until no more pairs pass.
    low, high = -30.0, 30.0
    for _ in range(30):
        middle = (low + high) / 2
        raised = logits + middle * (torch.arange(logits.shape[1]) == 0)
        passing = (raised.softmax(1)[:, 1:] > peer.roi_heads.score_thresh).sum()
        low, high = (middle, high) if passing > PASSING else (low, middle)
    boxes.cls_score.bias[0] += high
    if isinstance(peer, MaskRCNN):
        spread_out(peer.roi_heads.mask_predictor.mask_fcn_logits, lambda: peer([picture / 255]), 2.0)
    if isinstance(peer, KeypointRCNN):
        spread_out(peer.roi_heads.keypoint_predictor.kps_score_lowres, lambda: peer([picture / 255]), 2.0)


def spread_out(layer: nn.Module, forward: Callable[[], object], spread: float) -> Tensor:
    """Give what a layer says in `forward` mean 0 and this deviation; returns its new outputs if it is linear."""
    outputs: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    forward()
    hook.remove()
    values = torch.cat([output.flatten() for output in outputs])
    layer.weight.mul_(spread / values.std())
    layer.bias.sub_(values.mean()).mul_(spread / values.std())
    return (outputs[0] - values.mean()) * (spread / values.std())


def loaded(peer: FasterRCNN) -> RCNN:
    """Ours from the peer's state dict, for pictures of this size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peer.pth"
        torch.save(peer.state_dict(), path)
        model = pagoda.load(path).eval()
    model.input_spec = replace(model.input_spec, short_side=HEIGHT, long_side=WIDTH)
    return model


def run(model: RCNN, picture: Tensor) -> Detections:
    """All that `predict` does with a picture that is in memory."""
    found = model.detect(model.input_spec.prepare([picture]))
    return model.restore(found, [(HEIGHT, WIDTH)])[0]


def check_same(found: Detections, expected: dict[str, Tensor]) -> None:
    torch.testing.assert_close(found.scores, expected["scores"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.boxes, expected["boxes"], rtol=1e-4, atol=1e-2)
    if found.masks is not None:
        differing = found.masks != (expected["masks"][:, 0] > 0.5)
        assert differing.float().mean() < 1e-4, f"{differing.sum()} pixels of masks differ"
    if found.keypoints is not None:
        torch.testing.assert_close(found.keypoints, expected["keypoints"][..., :2], rtol=0, atol=2e-2)


def postprocessing(model: RCNN, picture: Tensor) -> Callable[[], object]:
    """What follows the box head and, with the objects chosen, what follows mask and keypoint head."""
    images = model.input_spec.prepare([picture])
    outputs, select = model(images), model.postprocess

    def after() -> list[Detections]:
        (found,) = select.detect(outputs, images, model.decode, model.label_map)
        count = len(found)
        if outputs.mask_logits is not None:
            found = replace(found, mask_crops=outputs.mask_logits[0, :count].sigmoid())
            found = select.with_masks(found)
        if outputs.keypoint_logits is not None:
            places, scores = select.keypoints(outputs.keypoint_logits[0, :count], found.boxes)
            found = replace(found, keypoints=places, keypoint_scores=scores)
        return model.restore([found], [(HEIGHT, WIDTH)])

    return after


def choice_of_proposals(model: RCNN, picture: Tensor) -> Callable[[], object]:
    """From what the proposal network says to 1000 regions."""
    images = model.input_spec.prepare([picture])
    rpn = model.propose(images, model.proposals.inference).rpn
    return lambda: model.proposals.inference(rpn, images.sizes, model.rpn_head.coder)


if __name__ == "__main__":
    main()
