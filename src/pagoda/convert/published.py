"""The checkpoints that other programs published: what they scored, where they are, whose they are.

Figures are those of the papers, papers' repositories and model zoos; none was measured here. Nothing is fetched
unless somebody hands an address to `load`.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from urllib.parse import urlparse

from pagoda.convert.source import APACHE, BSD, MIT, NON_COMMERCIAL, SHARE_ALIKE
from pagoda.plain import JsonObject, checked


@checked
@dataclass(frozen=True, kw_only=True)
class Published:
    """A published checkpoint; `model` is empty where its backbone or head is not in the zoo, and `note` says which.

    >>> PUBLISHED[0].file, PUBLISHED[0].model, PUBLISHED[0].ap
    ('FCOS_R_50_FPN_1x.pth', 'fcos_resnet50_fpn.original', 37.1)
    """

    name: str
    """as its program calls it"""
    program: str
    """that trained it"""
    model: str
    """as `create_model` takes it"""
    options: JsonObject = field(default_factory=dict)
    """of the model, as `create_model` takes them"""
    ap: float
    """published, in percent"""
    metric: str = "COCO AP"
    """COCO: minival or val2017"""
    num_classes: int = 80
    """of foreground, as the model counts them"""
    licence: str
    """of the weights"""
    url: str
    """the file, or the page that leads to it"""
    note: str = ""
    """other scores, or why it cannot be built"""

    @property
    def file(self) -> str:
        """Its name at that address; that of `name` where the address is a page."""
        last = PurePosixPath(urlparse(self.url).path).name
        return last if last.endswith((".pth", ".pkl")) else f"{self.name}.pth"

    def to_dict(self) -> JsonObject:
        """All fields by name, and the file, ready for JSON."""
        return {**asdict(self), "options": dict(self.options), "file": self.file}


FCOS_FILES = "https://huggingface.co/tianzhi/FCOS/resolve/main"
ADELAIDET_PAGE = "https://huggingface.co/tianzhi/AdelaiDet-FCOS"
VOVNET_PAGE = "https://github.com/aim-uofa/AdelaiDet/tree/master/configs/FCOS-Detection/vovnet"
DETECTRON_FILES = "https://dl.fbaipublicfiles.com/detectron"
DETECTRON2_FILES = "https://dl.fbaipublicfiles.com/detectron2/COCO-Detection"
MMDET_FILES = "https://download.openmmlab.com/mmdetection/v2.0/retinanet"
TORCHVISION_FILES = "https://download.pytorch.org/models"

DCN_R = {"deform": "v2", "head_deform": True}
DCN_X = {**DCN_R, "deform_levels": (4, 5)}
MOBILENET = {"norm": "batch", "frozen_stages": 0}
X32, X64 = "resnext101_32x8d", "resnext101_64x4d"

# name without "FCOS_", backbone, flavour, COCO minival AP, options
FCOS_ROWS: tuple[tuple[str, str, str, float, JsonObject], ...] = (
    ("R_50_FPN_1x", "resnet50", "original", 37.1, {}),
    ("R_101_FPN_2x", "resnet101", "original", 41.4, {}),
    ("X_101_32x8d_FPN_2x", X32, "original", 42.5, {}),
    ("X_101_64x4d_FPN_2x", X64, "original", 43.0, {}),
    ("imprv_R_50_FPN_1x", "resnet50", "improved", 38.7, {}),
    ("imprv_dcnv2_R_50_FPN_1x", "resnet50", "improved", 42.3, DCN_R),
    ("imprv_R_101_FPN_2x", "resnet101", "improved", 43.0, {}),
    ("imprv_dcnv2_R_101_FPN_2x", "resnet101", "improved", 45.6, DCN_R),
    ("imprv_X_101_32x8d_FPN_2x", X32, "improved", 44.0, {}),
    ("imprv_dcnv2_X_101_32x8d_FPN_2x", X32, "improved", 46.4, DCN_X),
    ("imprv_X_101_64x4d_FPN_2x", X64, "improved", 44.7, {}),
    ("imprv_dcnv2_X_101_64x4d_FPN_2x", X64, "improved", 46.6, DCN_X),
    ("syncbn_bs32_c128_MNV2_FPN_1x", "mobilenet_v2", "original", 30.9, {**MOBILENET, "width": 128}),
    ("syncbn_bs32_MNV2_FPN_1x", "mobilenet_v2", "original", 33.1, MOBILENET),
    ("bn_bs16_MNV2_FPN_1x", "mobilenet_v2", "original", 31.0, MOBILENET),
)
REAL_TIME = {"top_level": 5, "short_side": 512, "long_side": 736}
# name without "FCOS_", backbone ("" where it is not built), val AP, options, note
ADELAIDET_ROWS: tuple[tuple[str, str, float, JsonObject, str], ...] = (
    ("R_50_1x", "resnet50", 38.7, {}, ""),
    ("MS_R_50_2x", "resnet50", 41.0, {}, ""),
    ("MS_R_101_2x", "resnet101", 43.1, {}, ""),
    ("MS_X_101_32x8d_2x", X32, 43.9, {}, ""),
    ("MS_X_101_64x4d_2x", X64, 44.7, {}, ""),
    ("MS_X_101_32x8d_dcnv2_2x", X32, 46.6, DCN_X, ""),
    ("R_50_1x_iou", "resnet50", 39.4, {}, "quality is the IoU, not centerness"),
    ("MS_R_50_2x_iou", "resnet50", 41.5, {}, "quality is the IoU, not centerness"),
    ("MS_R_101_2x_iou", "resnet101", 43.5, {}, "quality is the IoU, not centerness"),
    ("MS_X_101_32x8d_2x_iou", X32, 44.5, {}, "quality is the IoU, not centerness"),
    ("MS_X_101_32x8d_2x_dcnv2_iou", X32, 47.4, DCN_X, "quality is the IoU, not centerness"),
    ("RT_MS_R_50_4x", "resnet50", 40.2, REAL_TIME, "P3 to P5, short side 512"),
    ("RT_MS_DLA_34_4x_shtw", "", 39.1, {}, "DLA-34 and a shared tower are not built"),
    ("RT_MS_DLA_34_4x", "", 40.3, {}, "DLA-34 is not built"),
    ("RT_MS_DLA_34_4x_shtw_bn", "", 38.9, {}, "DLA-34 and batch norms per level are not built"),
    ("RT_MS_DLA_34_4x_bn", "", 39.4, {}, "DLA-34 and batch norms per level are not built"),
    ("RT_MS_R_50_4x_bn", "", 39.3, {}, "batch norms per level in the heads are not built"),
    ("MS_V_39_3x", "", 43.5, {}, "VoVNet is not built"),
    ("MS_V_57_3x", "", 44.4, {}, "VoVNet is not built"),
    ("MS_V_99_3x", "", 45.2, {}, "VoVNet is not built"),
)
# name without "retinanet_", backbone, minival AP, identifier, folder
DETECTRON_ROWS = (
    ("R-50-FPN_1x", "resnet50", 35.7, 36768636, "08_29_48.t4zc9clc"),
    ("R-50-FPN_2x", "resnet50", 35.7, 36768677, "08_30_38.sgZIQZQ5"),
    ("R-101-FPN_1x", "resnet101", 37.7, 36768744, "08_31_38.5poQe1ZB"),
    ("R-101-FPN_2x", "resnet101", 37.8, 36768840, "08_33_29.grtM0RTf"),
    ("X-101-64x4d-FPN_1x", X64, 39.8, 36768875, "08_34_37.FSXgMpzP"),
    ("X-101-64x4d-FPN_2x", X64, 39.2, 36768907, "08_35_40.pF3nzPpu"),
    ("X-101-32x8d-FPN_1x", X32, 39.5, 36769563, "08_42_05.06JTK6vJ"),
    ("X-101-32x8d-FPN_2x", X32, 38.6, 36769641, "08_42_55.sUPnwXI5"),
)
# name, backbone, val2017 AP, rest of the address
DETECTRON2_ROWS = (
    ("retinanet_R_50_FPN_1x", "resnet50", 37.4, "190397773/model_final_bfca0b.pkl"),
    ("retinanet_R_50_FPN_3x", "resnet50", 38.7, "190397829/model_final_5bd44e.pkl"),
    ("retinanet_R_101_FPN_3x", "resnet101", 40.4, "190397697/model_final_971ab9.pkl"),
)
V2 = {"norm": "batch", "head_bias": False}
# name without "_coco", flavour, options, val2017 AP, end of the file's name
TORCHVISION_ROWS: tuple[tuple[str, str, JsonObject, float, str], ...] = (
    ("fcos_resnet50_fpn", "torchvision", {}, 39.2, "99b0c9b7"),
    ("retinanet_resnet50_fpn", "torchvision", {}, 36.4, "eeacb38b"),
    ("retinanet_resnet50_fpn_v2", "torchvision_v2", V2, 41.5, "5905b1c5"),
)
# name without "_coco", model, classes, val2017 AP of boxes, end of the file's name, note
TORCHVISION_REGION_ROWS = (
    ("fasterrcnn_resnet50_fpn", "faster_rcnn_resnet50_fpn.torchvision", 90, 37.0, "258fb6c6", ""),
    ("fasterrcnn_resnet50_fpn_v2", "faster_rcnn_resnet50_fpn.torchvision_v2", 90, 46.7, "dd69338a", ""),
    ("maskrcnn_resnet50_fpn", "mask_rcnn_resnet50_fpn.torchvision", 90, 37.9, "bf2d0c1e", "masks 34.6"),
    ("maskrcnn_resnet50_fpn_v2", "mask_rcnn_resnet50_fpn.torchvision_v2", 90, 47.4, "73cbd019", "masks 41.8"),
    (
        "keypointrcnn_resnet50_fpn",
        "keypoint_rcnn_resnet50_fpn.torchvision",
        1,
        54.6,
        "fc266e95",
        "keypoints 65.0",
    ),
)
# name without "retinanet_", backbone, flavour, val2017 AP, end of the file's name
MMDET_ROWS = (
    ("r18_fpn_1x_coco", "resnet18", "mmdet", 31.7, "20220407_171055-614fd399"),
    ("r50_caffe_fpn_1x_coco", "resnet50", "mmdet_caffe", 36.3, "20200531-f11027c5"),
    ("r50_fpn_1x_coco", "resnet50", "mmdet", 36.5, "20200130-c2398f9e"),
    ("r50_fpn_2x_coco", "resnet50", "mmdet", 37.4, "20200131-fdb43119"),
    ("r101_caffe_fpn_1x_coco", "resnet101", "mmdet_caffe", 38.5, "20200531-b428fa0f"),
    ("r101_fpn_1x_coco", "resnet101", "mmdet", 38.5, "20200130-7a93545f"),
    ("r101_fpn_2x_coco", "resnet101", "mmdet", 38.9, "20200131-5560aee8"),
    ("x101_32x4d_fpn_1x_coco", "resnext101_32x4d", "mmdet", 39.9, "20200130-5c8b7ec4"),
    ("x101_64x4d_fpn_1x_coco", X64, "mmdet", 41.0, "20200130-366f5af1"),
)


def _fcos_rows() -> Iterator[Published]:
    """tianzhi0549/FCOS and AdelaiDet."""
    for name, backbone, flavour, ap, options in FCOS_ROWS:
        yield Published(
            name=f"FCOS_{name}",
            program="FCOS",
            model=f"fcos_{backbone}_fpn.{flavour}",
            options=options,
            ap=ap,
            licence=NON_COMMERCIAL,
            url=f"{FCOS_FILES}/FCOS_{name}.pth",
        )
    for name, backbone, ap, options, note in ADELAIDET_ROWS:
        page = VOVNET_PAGE if "_V_" in name else ADELAIDET_PAGE
        yield Published(
            name=f"FCOS_{name}",
            program="AdelaiDet",
            model=f"fcos_{backbone}_fpn.adelaidet" if backbone else "",
            options=options,
            ap=ap,
            licence=NON_COMMERCIAL,
            url=f"{page}/resolve/main/FCOS_{name}.pth" if name == "R_50_1x" else page,
            note=note,
        )


def _retinanet_rows() -> Iterator[Published]:
    """Detectron, detectron2, mmdetection and bubbliiiing."""
    for name, backbone, ap, number, folder in DETECTRON_ROWS:
        run = f"{number}/12_2017_baselines/retinanet_{name}.yaml.{folder}/output/train"
        yield Published(
            name=f"retinanet_{name}",
            program="Caffe2 Detectron",
            model=f"retinanet_{backbone}_fpn.caffe2",
            ap=ap,
            licence=SHARE_ALIKE,
            url=f"{DETECTRON_FILES}/{run}/coco_2014_train%3Acoco_2014_valminusminival/retinanet/model_final.pkl",
        )
    for name, backbone, ap, rest in DETECTRON2_ROWS:
        yield Published(
            name=name,
            program="detectron2",
            model=f"retinanet_{backbone}_fpn.detectron2",
            ap=ap,
            licence=SHARE_ALIKE,
            url=f"{DETECTRON2_FILES}/{name}/{rest}",
        )
    for name, backbone, flavour, ap, end in MMDET_ROWS:
        yield Published(
            name=f"retinanet_{name}",
            program="mmdetection",
            model=f"retinanet_{backbone}_fpn.{flavour}",
            ap=ap,
            licence=APACHE,
            url=f"{MMDET_FILES}/retinanet_{name}/retinanet_{name}_{end}.pth",
        )
    yield Published(
        name="retinanet_resnet50",
        program="bubbliiiing/retinanet-pytorch",
        model="retinanet_resnet50_fpn.bubbliiiing",
        ap=81.56,
        metric="VOC07 mAP50",
        num_classes=20,
        licence=MIT,
        url="https://github.com/bubbliiiing/retinanet-pytorch",
    )


def _torchvision_rows() -> Iterator[Published]:
    """torchvision's dense detectors and R-CNNs."""
    for name, flavour, options, ap, end in TORCHVISION_ROWS:
        yield Published(
            name=f"{name}_coco",
            program="torchvision",
            model=f"{name.removesuffix('_v2')}.{flavour}",
            options=options,
            ap=ap,
            num_classes=91,
            licence=BSD,
            url=f"{TORCHVISION_FILES}/{name}_coco-{end}.pth",
        )
    for name, model, classes, ap, end, note in TORCHVISION_REGION_ROWS:
        yield Published(
            name=f"{name}_coco",
            program="torchvision",
            model=model,
            ap=ap,
            num_classes=classes,
            licence=BSD,
            url=f"{TORCHVISION_FILES}/{name}_coco-{end}.pth",
            note=note,
        )


PUBLISHED = (*_fcos_rows(), *_retinanet_rows(), *_torchvision_rows())


def find_published(file: str) -> Published | None:
    """The checkpoint that a file of this name is most likely a copy of; the longest name that begins it.

    >>> find_published("fcos_imprv_R_50_FPN_1x (2).pth").model
    'fcos_resnet50_fpn.improved'
    >>> find_published("model_final.pkl") is None
    True
    """
    fitting = [
        (len(name), row)
        for row in PUBLISHED
        for name in {row.name, PurePosixPath(row.file).stem} - {"model_final"}
        if re.match(rf"{re.escape(name)}(?![A-Za-z0-9])", file, re.IGNORECASE)
    ]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None
