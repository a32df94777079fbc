"""Records of darknet's networks with a detection layer: YOLOv1 in whatever form the record describes."""

from dataclasses import replace
from pathlib import Path

import torch
from goldens import Golden
from torch import Tensor

from pagoda.convert.darknet.weights_file import module_paths
from pagoda.convert.read import convert
from pagoda.convert.read_darknet import CENTERED
from pagoda.criteria.yolov1 import CellTargets, YOLOv1Criterion
from pagoda.detectors.yolov1 import YOLOv1
from pagoda.ops.cells import CellCoder, CellOutputs, join_cells, split_cells
from pagoda.postprocess.select import take
from pagoda.postprocess.yolov1 import SelectFromCells
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.zoo.flavours.yolov1 import DARKNET, YOLOv1Flavour
from pagoda.zoo.yolov1 import NETS

Found = dict[str, Tensor]


def is_yolov1(golden: Golden) -> bool:
    return golden.repository.endswith("/darknet")


def run(golden: Golden, path: Path) -> tuple[Found, Found]:
    flavour = darknet_flavour(golden)
    converted = convert(path, flavour=flavour)
    assert not converted.report.missing and not converted.report.unknown
    model = converted.model
    check_options(golden, model, flavour)
    (picture,) = golden.pictures()
    images = model.input_spec.prepare([picture])
    # A [crop] of the whole picture, the first section where there is one, centres what the network is given.
    sections = golden.options.get("sections", [])
    shift = int(any(section["type"] == "crop" for section in sections))
    given = images.pixels * 0.5 + 0.5 if model.input_spec.mean == CENTERED else images.pixels
    found = {"input": given, **layer_outputs(golden, model, images, shift)}
    found |= said(model, images, (picture.shape[-2], picture.shape[-1]))
    check_detections(golden, model, images, (picture.shape[-2], picture.shape[-1]))
    found |= learnt(golden, model, found)
    return found, {}


def darknet_flavour(golden: Golden) -> YOLOv1Flavour:
    """The options of the detection layer, and the limits that were asked for."""
    options, rule = golden.options, golden.meta["preprocess"]
    assert options["coords"] == 4
    scales = ("object_scale", "noobject_scale", "class_scale", "coord_scale")
    return replace(
        DARKNET,
        coder=CellCoder(roots=bool(options["sqrt"]), class_softmax=bool(options["softmax"])),
        criterion=YOLOv1Criterion(
            claim="first", rescore=bool(options["rescore"]), **{name: float(options[name]) for name in scales}
        ),
        postprocess=replace(DARKNET.postprocess, min_score=options["thresh"], max_iou=options["nms"]),
        input_spec=replace(
            DARKNET.input_spec,
            channel_order=rule["channels"],
            scale=255.0 / rule["scale"],
            mean=tuple(rule["mean"]),
            std=tuple(rule["std"]),
        ),
    )


def check_options(golden: Golden, model: YOLOv1, flavour: YOLOv1Flavour) -> None:
    """What the file or its `.cfg` says is what the record does."""
    options = golden.options
    grid, count = (options["side"],) * 2, options["num"]
    assert (model.head.grid, model.head.num_boxes, model.head.num_classes) == (
        grid,
        count,
        options["classes"],
    )
    assert (
        model.input_spec.canvas
        == tuple(options["network_hw"])
        == tuple(golden.meta["input"]["network_size_hw"])
    )
    assert model.coder == flavour.coder and replace(model.criterion, claim="first") == flavour.criterion


def layer_outputs(golden: Golden, model: YOLOv1, images: ImageBatch, shift: int = 0) -> Found:
    """Of every section that is kept, by the number of it."""
    layers = model.origin["options"]["layers"] or NETS[model.origin["model"].partition(".")[0]].layers
    kinds = [layer["kind"] if isinstance(layer, dict) else layer.kind for layer in layers]
    layers = [type("Kind", (), {"kind": kind}) for kind in kinds]
    found, handles = {}, []
    for number, name in enumerate(module_paths(layers), start=shift):
        handles.append(
            model.get_submodule(name).register_forward_hook(
                lambda _, __, output, number=number: found.update({f"layer.{number}": output})
            )
        )
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return found


def said(model: YOLOv1, images: ImageBatch, size: tuple[int, int]) -> Found:
    """The raw vector, and all boxes in pixels of the picture."""
    with torch.no_grad():
        cells, outputs = model.look(images.pixels).cells, model(images)
    boxes = model.decode(outputs.box_outputs[0], torch.cat(outputs.priors)) * factor(images, size)
    centers = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    return {
        "raw": join_cells(cells)[0],
        "output": join_cells(model.coder.read(cells))[0],
        "decoded.boxes": centers,
        "decoded.confidence": outputs.quality_logits[0],
    }


def factor(images: ImageBatch, size: tuple[int, int]) -> Tensor:
    height, width = images.sizes[0].tolist()
    return torch.tensor([size[1] / width, size[0] / height]).repeat(2)


def check_detections(golden: Golden, model: YOLOv1, images: ImageBatch, size: tuple[int, int]) -> None:
    """What suppression leaves, which darknet does not cut to the picture."""
    select = model.postprocess
    assert isinstance(select, SelectFromCells) and select.clip == "after" and select.max_detections is None
    with torch.no_grad():
        outputs = model(images)
    candidates = take(select.candidates(outputs, images.sizes, model.decode), 0)
    left = select.stages_of_one_image(candidates, images.sizes[0]).survivors
    golden.check_detections(
        golden.prefix("det", 0), left.boxes * factor(images, size), left.scores, left.labels
    )
    (found,) = model.detect(images)
    assert torch.equal(found.scores, left.scores.sort(descending=True).values)


def learnt(golden: Golden, model: YOLOv1, found: Found) -> Found:
    """The table of labels, the errors and the cost; the loss's gradient at the output is minus the errors."""
    options, criterion = golden.options, model.criterion
    (target,) = golden.targets()
    rows = torch.tensor(target["boxes_cxcywh_class"]).reshape(-1, 5)
    boxes = torch.cat([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], 1)
    objects = Targets(boxes, rows[:, 4].long(), (1, 1), torch.zeros(len(rows), dtype=torch.bool))
    classes, count, grid = options["classes"], options["num"], model.head.grid
    criterion = replace(criterion, claim="first")
    table = criterion.targets(objects, grid, (1, 1), classes)
    raw = found.pop("raw")[None].requires_grad_()
    cells = split_cells(raw, classes, count)
    batch = CellTargets(*(part[None] for part in table))
    errors = criterion.deltas(CellOutputs(*(part.detach() for part in cells)), batch, grid, model.coder)
    delta = join_cells(CellOutputs(*errors))[0]
    losses = criterion(cells, [objects], grid, (1, 1), coder=model.coder)
    (gradient,) = torch.autograd.grad(sum(losses.values()), raw)
    torch.testing.assert_close(-gradient[0], delta, rtol=1e-5, atol=1e-6)
    truth = torch.cat([table.has_object[:, None].float(), table.classes, table.boxes], 1)
    return {"truth": truth, "delta": delta, "loss": errors.cost()}
