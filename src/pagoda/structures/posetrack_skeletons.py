"""PoseTrack's two sets of joints."""

from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import COCO_17, Skeleton

_SIGMAS = dict(zip(COCO_17.names, COCO_17.sigmas, strict=True))


def _skeleton(names: tuple[str, ...], bones: tuple[tuple[str, str], ...]) -> Skeleton:
    """COCO's sigmas; the top of the head and the neck like a shoulder."""
    position = {name: k for k, name in enumerate(names)}
    edges = tuple((position[a], position[b]) for a, b in bones)
    return Skeleton(names, edges, tuple(_SIGMAS.get(name, 0.079) for name in names))


_LIMBS = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
        ("shoulder", "hip"),
        ("hip", "knee"),
        ("knee", "ankle"),
    )
)
_ACROSS = (("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"))

POSETRACK_17 = _skeleton(
    (
        "nose", "head_bottom", "head_top", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
        "right_knee", "left_ankle", "right_ankle",
    ),
    (*_LIMBS, *_ACROSS, ("head_top", "nose"), ("nose", "head_bottom")),
)  # fmt: skip
"""As in the files of PoseTrack 2018; the ears are never annotated."""

POSETRACK_15 = _skeleton(
    (
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist",
        "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "nose", "head_top",
    ),
    (*_LIMBS, *_ACROSS, ("head_top", "nose"), ("nose", "neck")),
)  # fmt: skip
"""As in the files of PoseTrack 2017, and as all scores are computed."""

PERSON_17 = LabelMap(("person",), (1,), POSETRACK_17)
PERSON_15 = LabelMap(("person",), (1,), POSETRACK_15)
