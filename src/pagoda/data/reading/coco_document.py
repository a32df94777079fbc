"""What another program annotated, said as a COCO document."""

from collections.abc import Iterable, Sequence

from pagoda.plain import JsonObject


def coco_document(
    pictures: Iterable[tuple[JsonObject, Iterable[tuple[str, JsonObject]]]],
    names: Sequence[str],
    keypoints: Sequence[str] = (),
) -> JsonObject:
    """images, annotations and categories, each numbered from 1 in the order given.

    `pictures`: each one's entry (file_name, and the size where it is known) and its objects, (class, what COCO says of
    it: bbox, segmentation, …). `names` are the classes, each with `keypoints` where there are any. Raises KeyError
    for an object of another class.

    >>> document = coco_document([({"file_name": "a.png"}, [("dog", {"bbox": [0, 0, 4, 3]})])], ["cat", "dog"])
    >>> document["annotations"], document["categories"][0]
    ([{'id': 1, 'image_id': 1, 'category_id': 2, 'bbox': [0, 0, 4, 3]}], {'id': 1, 'name': 'cat'})
    """
    numbers = {name: number for number, name in enumerate(names, 1)}
    skeleton = {"keypoints": list(keypoints)} if keypoints else {}
    images: list[JsonObject] = []
    annotations: list[JsonObject] = []
    for image_id, (picture, objects) in enumerate(pictures, 1):
        images.append({"id": image_id, **picture})
        for name, entry in objects:
            row = {"id": len(annotations) + 1, "image_id": image_id, "category_id": numbers[name]}
            annotations.append({**row, **entry})
    categories = [{"id": number, "name": name, **skeleton} for name, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}
