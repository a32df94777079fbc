"""A COCO ground-truth document as columns, checked once, with images and categories numbered for scoring."""

from collections.abc import Iterable, Sequence

import numpy as np

from pagoda.files.text import truth_value
from pagoda.messages import counted
from pagoda.ops.rle import to_text
from pagoda.plain import JsonObject
from pagoda.structures.labels import LabelMap


class GroundTruth:
    """A COCO document as columns, images and categories counted 0, 1, … in the order of their ids. N annotations.

    Raises ValueError where the document contradicts itself, naming the id.

    >>> cat = {"id": 1, "image_id": 7, "category_id": 17, "bbox": [0, 0, 2, 3]}
    >>> images, names = [{"id": 7}, {"id": 5}], [{"id": 17, "name": "cat"}]
    >>> truth = GroundTruth({"images": images, "annotations": [cat], "categories": names})
    >>> truth.image_ids, truth.images, truth.areas  # the cat is on the second image, and has the area of its box
    ([5, 7], array([1]), array([6.]))
    """

    def __init__(self, document: JsonObject) -> None:
        for key in ("images", "annotations", "categories"):
            if key not in document:
                raise ValueError(f"COCO ground truth needs '{key}', got a document with {sorted(document)}")
        # pycocotools scores images in the order of their ids; equal scores are ranked by it, so it is kept.
        self.image_ids = sorted(
            (image["id"] for image in document["images"]), key=lambda i: (isinstance(i, str), i)
        )
        sizes = {image["id"]: (image.get("height"), image.get("width")) for image in document["images"]}
        self.sizes = [size if all(size := sizes[i]) else None for i in self.image_ids]
        self.image_index = {image_id: index for index, image_id in enumerate(self.image_ids)}
        self.category_names = {int(c["id"]): str(c["name"]) for c in document["categories"]}
        self.category_ids = sorted(self.category_names)
        self.category_index = {category_id: index for index, category_id in enumerate(self.category_ids)}
        if len(self.image_index) != len(document["images"]):
            raise ValueError("the ground truth has two images with the same id; each needs its own")
        if len(self.category_ids) != len(document["categories"]):
            raise ValueError("the ground truth has two categories with the same id; each needs its own")
        self._read_annotations(document["annotations"])

    def _read_annotations(self, annotations: list[JsonObject]) -> None:
        for annotation in annotations:
            where = f"annotation {annotation.get('id')} of the ground truth"
            if annotation["image_id"] not in self.image_index:
                raise ValueError(
                    f"{where} is on image {annotation['image_id']!r}, which 'images' does not list"
                )
            if annotation["category_id"] not in self.category_index:
                raise ValueError(
                    f"{where} has category id {annotation['category_id']!r}; 'categories' lists"
                    f" {shorten(self.category_ids)}"
                )
        self.images = np.array([self.image_index[a["image_id"]] for a in annotations], dtype=np.int64)
        self.categories = np.array(
            [self.category_index[a["category_id"]] for a in annotations], dtype=np.int64
        )
        self.boxes_xywh = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
        self.crowd = np.array([_is_crowd(a) for a in annotations], dtype=bool)
        box_areas = (self.boxes_xywh[:, 2] * self.boxes_xywh[:, 3]).tolist()
        self.areas = np.array(
            [a.get("area", own) for a, own in zip(annotations, box_areas, strict=True)], np.float64
        )
        self.annotation_ids = [a.get("id") for a in annotations]
        self._segmentations = [a.get("segmentation") or None for a in annotations]
        self._keypoints = [a.get("keypoints") or None for a in annotations]
        self.has_mask = np.array([value is not None for value in self._segmentations], bool)
        self.has_keypoints = np.array([value is not None and any(value) for value in self._keypoints], bool)
        self._mask_texts: list[str] | None = None
        broken = ~(np.isfinite(self.boxes_xywh).all(1) & np.isfinite(self.areas))
        if broken.any():
            first = annotations[int(broken.argmax())]
            raise ValueError(
                f"annotation {first.get('id')} of the ground truth has a box or area that is not finite"
            )

    def counted(self, task: str) -> np.ndarray:
        """(N,) bool: annotations that "bbox", "segm" or "keypoints" can find or miss; crowd regions are neither."""
        has = {"bbox": np.ones_like(self.crowd), "segm": self.has_mask, "keypoints": self.has_keypoints}
        return ~self.crowd & has[task]

    def crowded(self, task: str, limit: int, *, of_one_class: bool = True) -> tuple[int, int]:
        """(pictures with more objects than `limit`, of one class or of all, and the most that one holds)."""
        rows = self.counted(task)
        number = self.images[rows] * len(self.category_ids) + self.categories[rows]
        cells, counts = np.unique(number if of_one_class else self.images[rows], return_counts=True)
        images = cells // len(self.category_ids) if of_one_class else cells
        return len(np.unique(images[counts > limit])), int(counts.max(initial=0))

    def size_of(self, image: int) -> tuple[int, int]:
        """(height, width) of the image at this position; ValueError where the document does not say it."""
        size = self.sizes[image]
        if size is None:
            raise ValueError(
                f"masks need the height and width of image {self.image_ids[image]!r} in the ground truth"
            )
        return int(size[0]), int(size[1])

    def mask_texts(self) -> list[str]:
        """The run lengths of every annotation's mask, "" where it has none; made when first asked for."""
        if self._mask_texts is None:
            texts = []
            for row, segmentation in enumerate(self._segmentations):
                try:
                    size = self.size_of(int(self.images[row]))
                    texts.append("" if segmentation is None else to_text(segmentation, size))
                except ValueError as error:
                    where = f"annotation {self.annotation_ids[row]} of the ground truth"
                    raise ValueError(f"{where}: {error}") from error
            self._mask_texts, self._segmentations = texts, []
        return self._mask_texts

    def keypoint_triples(self, num_keypoints: int) -> np.ndarray:
        """(N, K, 3) x, y, visibility; zeros where an annotation has none."""
        triples = np.zeros((len(self.images), num_keypoints, 3))
        for row in np.flatnonzero(self.has_keypoints).tolist():
            values = self._keypoints[row] or []
            if len(values) != 3 * num_keypoints:
                raise ValueError(
                    f"annotation {self.annotation_ids[row]} of the ground truth must have {3 * num_keypoints}"
                    f" numbers for the {counted(num_keypoints, 'keypoint')} of the skeleton, got {len(values)}"
                )
            triples[row] = np.reshape(values, (num_keypoints, 3))
        return triples

    def check_labels(self, label_map: LabelMap) -> None:
        """Raises ValueError unless every category id of the label map is here and no name has another id."""
        self.check_category_ids(label_map.category_ids, "the label map")
        id_by_name = {name: category_id for category_id, name in self.category_names.items()}
        for name, category_id in zip(label_map.names, label_map.category_ids, strict=True):
            if id_by_name.get(name, category_id) != category_id:
                raise ValueError(
                    f"'{name}' has category id {category_id} in the label map but"
                    f" {id_by_name[name]} in the ground truth; take the label map of the data set"
                    " the model was trained on, or renumber its ids"
                )

    def check_category_ids(self, category_ids: Iterable[int], source: str) -> None:
        """Raises ValueError naming both sets of ids when `category_ids` has one that is no category here."""
        given = sorted(set(category_ids))
        unknown = [category_id for category_id in given if category_id not in self.category_index]
        if not unknown:
            return
        cause = "use the category ids of the ground truth"
        if 0 in unknown and all(category_id + 1 in self.category_index for category_id in given):
            cause = "these look like labels counted from 0; write label_map.category_ids[label] instead"
        raise ValueError(
            f"{source} uses category ids {shorten(given)}, the ground truth has {shorten(self.category_ids)}:"
            f" {shorten(unknown)} do not meet; {cause}"
        )

    def indices_of_images(self, image_ids: list[int | str]) -> np.ndarray:
        """(N,) positions of the images; raises ValueError naming those that are not in the ground truth."""
        unknown = [image_id for image_id in dict.fromkeys(image_ids) if image_id not in self.image_index]
        if unknown:
            raise ValueError(
                f"{len(unknown)} image ids of the detections are not in the ground truth:"
                f" {shorten(unknown)}; it has {counted(len(self.image_ids), 'image')} with ids like"
                f" {shorten(self.image_ids, 3)}; write the ids of the ground truth's images"
            )
        return np.array([self.image_index[image_id] for image_id in image_ids], dtype=np.int64)


def _is_crowd(annotation: JsonObject) -> bool:
    value = annotation.get("iscrowd")
    if value in (None, 0, 1):
        return bool(value)
    return truth_value(value, f"annotation {annotation.get('id')} of the ground truth: iscrowd")


def shorten(values: Sequence[object], limit: int = 12) -> str:
    """The first few values as text, with the count when there are more.

    >>> shorten(["cat", "dog", "owl"], limit=2)
    "'cat', 'dog', … (3 in all)"
    """
    text = ", ".join(repr(value) for value in values[:limit])
    return text if len(values) <= limit else f"{text}, … ({len(values)} in all)"
