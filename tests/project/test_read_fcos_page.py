"""The page that reads one FCOS whole: its blocks run in their order, and compare themselves with the library."""

import re

import pytest
import torch


@pytest.mark.medium
def test_the_blocks_run_and_agree_with_the_library(repository):
    page = (repository / "docs" / "read_fcos.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    scope: dict = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"read_fcos.md, block {number}", "exec"), scope)
    # The last block has compared all there is: no term and no picture was left out.
    losses = scope["model"].losses(scope["model"].input_spec.batch(scope["pictures"]), scope["targets"])
    assert set(losses) == {"loss_class", "loss_box", "loss_centerness"}
    assert len(scope["found"]) == 2 and all(len(boxes) for boxes, _, _ in scope["found"])
    assert torch.isfinite(torch.stack(list(losses.values()))).all()
