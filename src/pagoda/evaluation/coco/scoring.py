"""Average precision and recall by hotcoco, from columns: of boxes, of masks, of keypoints."""

import warnings
from typing import Literal

import hotcoco
import numpy as np

from pagoda.evaluation.coco.ground_truth import GroundTruth
from pagoda.evaluation.coco.state import State
from pagoda.ops.rle import as_rle, mask_areas
from pagoda.plain import JsonObject, checked
from pagoda.structures.skeleton import Skeleton

Task = Literal["bbox", "segm", "keypoints"]
MAX_POSES = 20
"""Per image, as COCO counts keypoints"""
_SMALL, _MEDIUM, _HUGE = 32.0**2, 96.0**2, 1e10
"""pixels²"""
SIZES: dict[Task, dict[str, tuple[float, float]]] = {
    "bbox": {"": (0, _HUGE), "s": (0, _SMALL), "m": (_SMALL, _MEDIUM), "l": (_MEDIUM, _HUGE)},
    "keypoints": {"": (0, _HUGE), "m": (_SMALL, _MEDIUM), "l": (_MEDIUM, _HUGE)},
}
SIZES["segm"] = SIZES["bbox"]
"""name → least and largest area, both within"""
SizeName = Literal["small", "medium", "large"]
SIZE_NAMES: dict[str, SizeName] = {"s": "small", "m": "medium", "l": "large"}
"""what the letters stand for"""


def size_name(area: float) -> SizeName:
    """COCO's word for an area in pixels².

    >>> size_name(30.0 * 30), size_name(32.0 * 32), size_name(100.0 * 100)
    ('small', 'medium', 'large')
    """
    return next((SIZE_NAMES[key] for key, (_, high) in SIZES["bbox"].items() if key and area < high), "large")


@checked
def score(
    truth: GroundTruth, collected: State, task: Task, limits: list[int], skeleton: Skeleton | None
) -> tuple[np.ndarray, np.ndarray]:
    """Precision (10 IoUs, 101 recalls, classes, sizes, limits), recall without that axis; -1: undefined.

    `limits`: detections per image and class; `skeleton` gives the sigmas of keypoints. Raises ValueError for a ground
    truth without images or categories.
    """
    if not truth.image_ids or not truth.category_ids:
        raise ValueError("the ground truth has no images or no categories; there is nothing to evaluate")
    order = np.argsort(collected["images"], kind="stable")
    rows = {name: collected[name][order] for name in collected if name not in ("answered", "repeated")}
    if task == "keypoints":
        assert skeleton is not None
        reference, found = _poses(truth, rows, len(skeleton))
    else:
        reference, found = _regions(truth, rows, task)
    scoring = hotcoco.COCOeval(reference, found, task)
    scoring.params.max_dets = limits
    if task == "keypoints" and skeleton is not None:
        scoring.params.kpt_oks_sigmas = list(skeleton.sigmas)
    with warnings.catch_warnings():
        # Other sigmas than COCO's are meant; the protocol of the result says which.
        warnings.filterwarnings("ignore", message=".*kpt_oks_sigmas")
        scoring.evaluate()
    scoring.accumulate()
    return scoring.eval["precision"], scoring.eval["recall"]


@checked
def summarise(task: Task, precision: np.ndarray, recall: np.ndarray, limits: list[int]) -> dict[str, float]:
    """COCO's numbers under its names: of boxes and masks AP … ARl, of keypoints AP … ARl without AR1 and AR10.

    `precision`, `recall` and `limits` are those of `score`.

    >>> recall = np.full((10, 1, 4, 3), 0.5)
    >>> list(summarise("bbox", np.ones((10, 101, 1, 4, 3)), recall, [1, 10, 100]))
    ['AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR1', 'AR10', 'AR100', 'ARs', 'ARm', 'ARl']
    """
    numbers = {
        "AP": mean(precision[:, :, :, 0, -1]),
        "AP50": mean(precision[0, :, :, 0, -1]),
        "AP75": mean(precision[5, :, :, 0, -1]),
    }
    sizes = {letter: index for index, letter in enumerate(SIZES[task]) if letter}
    numbers |= {f"AP{letter}": mean(precision[:, :, :, index, -1]) for letter, index in sizes.items()}
    if task == "keypoints":
        numbers |= {
            "AR": mean(recall[:, :, 0, -1]),
            "AR50": mean(recall[0, :, 0, -1]),
            "AR75": mean(recall[5, :, 0, -1]),
        }
    else:
        numbers |= {f"AR{limit}": mean(recall[:, :, 0, index]) for index, limit in enumerate(limits)}
    return numbers | {f"AR{letter}": mean(recall[:, :, index, -1]) for letter, index in sizes.items()}


def mean(values: np.ndarray) -> float:
    """Mean of the defined entries, nan without any; -1 marks the others.

    >>> mean(np.array([0.5, -1.0, 1.0])), mean(np.array([-1.0]))
    (0.75, nan)
    """
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")


def _images_and_categories(truth: GroundTruth) -> tuple[list[JsonObject], list[JsonObject]]:
    """The images and categories for hotcoco, counted from 1: it takes id 0 for "no match", and ids may be text."""
    images: list[JsonObject] = [{"id": index + 1} for index in range(len(truth.image_ids))]
    for image, size in zip(images, truth.sizes, strict=True):
        image |= {} if size is None else {"height": size[0], "width": size[1]}
    return images, [{"id": index + 1, "name": str(i)} for index, i in enumerate(truth.category_ids)]


def _regions(truth: GroundTruth, rows: State, task: Task) -> tuple[hotcoco.COCO, hotcoco.COCO]:
    """(ground truth, results) of boxes or masks. The size of a found mask is its number of pixels, whatever its box."""
    table = np.column_stack([rows["images"] + 1, rows["boxes_xywh"], rows["scores"], rows["categories"] + 1])
    kept = np.ones(len(truth.images), bool) if task == "bbox" else truth.has_mask
    masks: list[JsonObject | list[list[float]]] | None = None
    if task == "segm":
        texts, images = truth.mask_texts(), truth.images.tolist()
        masks = [as_rle(texts[row], truth.size_of(images[row])) for row in np.flatnonzero(kept).tolist()]
    reference = hotcoco.COCO.from_arrays(
        *_images_and_categories(truth),
        truth.images[kept] + 1,
        truth.categories[kept] + 1,
        truth.boxes_xywh[kept],
        ids=np.arange(1, int(kept.sum()) + 1),
        area=truth.areas[kept],
        iscrowd=truth.crowd[kept].astype(np.int64),
        segmentation=masks,
    )
    if task == "bbox":
        return reference, reference.load_res(table)
    texts = rows["masks"].tolist()
    sizes = [truth.size_of(image) for image in rows["images"].tolist()]
    found = reference.load_res(table, segmentation=[as_rle(t, s) for t, s in zip(texts, sizes, strict=True)])
    areas = [int(mask_areas([text], size)[0]) for text, size in zip(texts, sizes, strict=True)]
    found.update_anns(ids=np.arange(1, len(areas) + 1), area=np.array(areas, np.float64))
    return reference, found


def _poses(truth: GroundTruth, rows: State, num_keypoints: int) -> tuple[hotcoco.COCO, hotcoco.COCO]:
    images, categories = _images_and_categories(truth)
    triples = truth.keypoint_triples(num_keypoints)
    annotations = [
        {
            "id": index + 1,
            "image_id": image + 1,
            "category_id": category + 1,
            "bbox": box,
            "area": area,
            "iscrowd": int(is_crowd),
            "keypoints": points,
            "num_keypoints": count,
        }
        for index, (image, category, box, area, is_crowd, points, count) in enumerate(
            zip(
                truth.images.tolist(),
                truth.categories.tolist(),
                truth.boxes_xywh.tolist(),
                truth.areas.tolist(),
                truth.crowd.tolist(),
                triples.reshape(len(triples), 3 * num_keypoints).tolist(),
                (triples[..., 2] > 0).sum(1).tolist(),
                strict=True,
            )
        )
    ]
    reference = hotcoco.COCO({"images": images, "categories": categories, "annotations": annotations})
    columns = (rows["images"] + 1, rows["categories"] + 1, rows["boxes_xywh"], rows["scores"])
    found = [
        {"image_id": image, "category_id": category, "bbox": box, "score": value, "keypoints": points}
        for image, category, box, value, points in zip(
            *(column.tolist() for column in columns),
            rows["keypoints"].reshape(len(rows["keypoints"]), 3 * num_keypoints).tolist(),
            strict=True,
        )
    ]
    return reference, reference.load_res(found)
