"""What a worker keeps of a picture is what `Detections.to_dict` said of it."""

import pytest
import torch

from pagoda.cluster.shards import FoundRow, count_shard, read_shard, shard_path, write_shard
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton

pytest.importorskip("pyarrow", reason="pip install 'pagoda-vision[scale]'")
SKELETON = Skeleton(("head", "tail"), ((0, 1),))


def detections(count, *, masks=False, keypoints=False):
    torch.manual_seed(count)
    corners = torch.rand(count, 2) * 10
    labels = LabelMap.from_names(["ball", "人"])
    return Detections(
        torch.cat([corners, corners + 1 + torch.rand(count, 2) * 5], 1),
        torch.rand(count),
        torch.randint(0, 2, (count,)),
        (20, 30),
        LabelMap(labels.names, labels.category_ids, SKELETON) if keypoints else labels,
        masks=torch.rand(count, 20, 30) > 0.5 if masks else None,
        keypoints=torch.rand(count, 2, 2) * 20 if keypoints else None,
        keypoint_scores=torch.tensor([[0.5, float("nan")]]).expand(count, 2) if keypoints else None,
        file="a.png",
    )


@pytest.mark.parametrize("extras", [{}, {"masks": True}, {"keypoints": True}])
def test_rows_come_back(tmp_path, extras):
    rows = [
        FoundRow(64, detections(3, **extras).to_dict(), None, "/a/a.png"),
        FoundRow(65, None, "cannot read b.png: it is empty", "/a/b.png"),
        FoundRow(66, detections(0, **extras).to_dict(), None, "/a/c.png", 4, 4095.0),
    ]
    path = shard_path(tmp_path, 1)
    path.parent.mkdir()
    write_shard(path, rows)
    assert list(read_shard(path)) == rows and count_shard(path) == (3, 1)
    assert [each.name for each in path.parent.iterdir()] == ["part-000001.parquet"]
