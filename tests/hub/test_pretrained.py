"""Weights with their page go into a folder, out of it, and by way of a hub that stands on this disk."""

import hashlib
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError

import pagoda
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.hub.model_card import HUB_LICENCES, Published, Scores
from pagoda.models import create_model
from pagoda.weights.files import load_weights, read_card, save_weights

SMALL = {"width": 16, "head_depth": 1, "base_channels": 16, "short_side": 32, "long_side": 32}
SHAPES = DrawnShapes(3, image_size=(32, 48), seed=1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whoever asks the hub without having been told to fails."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("fcos_resnet18_fpn", label_map=SHAPES.label_map, **SMALL).eval()


@pytest.fixture
def data(tmp_path) -> Path:
    write_coco_folder(SHAPES, tmp_path / "shapes", split="val")
    return tmp_path / "shapes"


def page_of(folder: Path) -> tuple[dict, str]:
    """The metadata and the text, as the hub's own reader has them; it refuses what it cannot read."""
    content = (folder / "README.md").read_text(encoding="utf-8")
    card = ModelCard(content)
    written = yaml.safe_load(content.split("---\n")[1])
    assert card.data.to_dict() == written
    return written, card.text


def test_a_folder_gives_the_model_back(model, tmp_path):
    folder = pagoda.save_pretrained(model, tmp_path / "mine", licence="Apache-2.0")
    again = pagoda.from_pretrained(folder)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in again.state_dict().items())
    assert again.label_map == model.label_map and not again.training
    facts, text = page_of(folder)
    assert facts["license"] == "apache-2.0" and facts["library_name"] == "pagoda"
    assert facts["pipeline_tag"] == "object-detection" and facts["tags"] == ["pagoda", "fcos"]
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert f"| these weights | Apache-2.0 | `{digest}` |" in text and "None are known." in text
    assert "model-index" not in facts and "# mine" in text


def test_nothing_is_replaced_unless_asked(model, tmp_path, monkeypatch):
    folder = pagoda.save_pretrained(model, tmp_path / "mine")
    before = (folder / "README.md").read_bytes()
    with monkeypatch.context() as patch, pytest.raises(FileExistsError, match="overwrite=True"):
        patch.setattr("pagoda.hub.pretrained.collect", None)  # no work before it is refused
        pagoda.save_pretrained(model, folder, licence="MIT", data="nowhere")
    assert (folder / "README.md").read_bytes() == before
    pagoda.save_pretrained(model, folder, licence="MIT", overwrite=True)
    assert page_of(folder)[0]["license"] == "mit"
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileExistsError, match=r"README\.md exists"):
        pagoda.save_pretrained(model, folder)


def test_scores_on_data_come_with_intervals_and_the_fingerprint(model, data, tmp_path):
    folder = pagoda.save_pretrained(model, tmp_path / "mine", data=data, split="val")
    facts, text = page_of(folder)
    result = pagoda.evaluate(model, data)
    (entry,) = facts["model-index"]
    (row,) = [each for each in entry["results"] if each["task"]["type"] == "object-detection"]
    assert row["dataset"] == {"type": "shapes", "name": "shapes", "split": "val"}
    values = {metric["type"]: metric["value"] for metric in row["metrics"]}
    assert values == {name: round(result.metrics[name], 4) for name in ("AP", "AP50", "AP75")}
    assert re.search(r"On shapes, val \(fingerprint `[0-9a-f]{64}`\), in percent", text)
    low, high = line_of(text, "AP")[2].split(" … ")
    assert (
        float(low) <= 100 * result.metrics["AP"] + 0.05 and float(high) >= 100 * result.metrics["AP"] - 0.05
    )
    assert result.protocol in text


def line_of(text: str, first: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_run_s_checkpoint_goes_in_byte_by_byte_with_what_it_says(model, tmp_path):
    card = {
        **model.card(),
        "metrics": {"AP": 0.5, "AP50": None},
        "epoch": 3,
        "data": {"train": "aa", "val": "bb"},
    }
    path = save_weights(tmp_path / "best.safetensors", model.state_dict(), card)
    folder = pagoda.save_pretrained(path, tmp_path / "mine")
    assert (folder / "model.safetensors").read_bytes() == path.read_bytes()
    facts, text = page_of(folder)
    assert line_of(text, "AP") == ["AP", "50.0", "not reckoned"] and "| AP50 |" not in text
    assert line_of(text, "data, train")[1] == "fingerprint `aa`" and line_of(text, "epoch")[1] == "3"
    assert "chose these weights among the epochs of their training (fingerprint `bb`)" in text
    assert "license" not in facts and "nobody has stated one" in text


@pytest.mark.medium
def test_training_writes_the_fingerprints_that_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        write_coco_folder(SHAPES, tmp_path / "DIR", split=split)
    run = pagoda.train("fcos_resnet18_fpn", "DIR", epochs=1, options=SMALL, quiet=True)
    best = run.folder / "best.safetensors"
    seen = read_card(best)["data"]
    assert seen["train"] == seen["val"] and len(seen["val"]) == 64  # both splits hold the same
    text = page_of(pagoda.save_pretrained(best, "mine", data="DIR"))[1]
    assert line_of(text, "data, train")[1] == f"fingerprint `{seen['train']}`"
    assert f"On DIR, val (fingerprint `{seen['val']}`)" in text


def test_licences_of_what_it_began_from_stand_below(model, tmp_path):
    began = {"file": "a|b.pth", "sha256": "cd" * 32, "source": "AdelaiDet", "licence": "non-commercial"}
    card = {**model.card(), "provenance": began}
    path = save_weights(tmp_path / "a.safetensors", model.state_dict(), card)
    facts, text = page_of(pagoda.save_pretrained(path, tmp_path / "mine", licence="My own, of 2026"))
    assert (facts["license"], facts["license_name"]) == ("other", "my-own-of-2026")
    assert rf"| a\|b.pth (AdelaiDet) | non-commercial | `{'cd' * 32}` |" in text
    assert read_card(tmp_path / "mine" / "model.safetensors")["provenance"] == began


@pytest.mark.parametrize("licence", [HUB_LICENCES[0], "MIT", "weird: [yaml]", ""])
@pytest.mark.parametrize("name", ["plain", 'a: "b" #c', "- [x]", "ö\n---\n"])
def test_any_words_stay_readable_metadata(name, licence, tmp_path):
    scores = Scores(metrics={"AP": 0.5}, data=name, split="val")
    page = Published(
        name=name, card={"label_map": {"names": ["|", "a"]}}, sha256="", licence=licence, scores=scores
    )
    (tmp_path / "README.md").write_text(page.text(), encoding="utf-8")
    facts = ModelCard.load(tmp_path / "README.md").data
    assert facts.model_name == name and facts.eval_results[0].dataset_name == name
    assert "build=FUNCTION" in page.text()


def test_a_model_that_is_not_in_the_zoo_comes_back_by_its_function(model, tmp_path):
    composed = create_model("fcos_resnet18_fpn", num_classes=2, **SMALL)
    composed.origin = None
    folder = pagoda.save_pretrained(composed, tmp_path / "mine")
    facts, text = page_of(folder)
    assert facts["tags"] == ["pagoda"] and "build=FUNCTION" in text and "composed outside the zoo" in text
    with pytest.raises(ValueError, match=r"hand over"):
        pagoda.from_pretrained(folder)
    again = pagoda.from_pretrained(
        folder, build=lambda count: create_model("fcos_resnet18_fpn", num_classes=count, **SMALL)
    )
    assert torch.equal(again.class_head.predict.weight, composed.class_head.predict.weight)


class DiskHub:
    """What is asked of the hub, as folders on this disk."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls, self.refusal = root, [], None

    def __call__(self, *, token: str | None = None) -> "DiskHub":
        self.calls.append(("token", token))
        return self

    def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> None:
        self.calls.append(("create", repo, private))
        (self.root / repo).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> SimpleNamespace:
        if self.refusal:
            raise self.refusal
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    def download(self, repo: str, file: str, *, revision: str | None, cache_dir: Path) -> str:
        self.calls.append(("download", repo, file, revision))
        return str(self.root / repo / file)


@pytest.fixture
def disk_hub(tmp_path, monkeypatch) -> DiskHub:
    hub = DiskHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.download)
    return hub


def test_there_and_back_by_the_hub(model, disk_hub, tmp_path):
    address = pagoda.push_to_hub(model, "me/shapes", licence="MIT")
    assert address == "https://hub/me/shapes/commit/1"
    assert disk_hub.calls == [
        ("token", None),
        ("create", "me/shapes", True),
    ]  # private unless somebody says otherwise
    text = page_of(disk_hub.root / "me" / "shapes")[1]
    assert "# shapes" in text and 'pagoda.from_pretrained("hf:me/shapes")' in text
    again = pagoda.from_pretrained("hf:me/shapes@v1")
    assert disk_hub.calls[-1] == ("download", "me/shapes", "model.safetensors", "v1")
    picture = SHAPES[0][0]
    assert torch.equal(again.predict(picture).boxes, model.predict(picture).boxes)
    weights = load_weights(disk_hub.root / "me/shapes/model.safetensors")[0]
    assert weights.keys() == model.state_dict().keys()


def test_what_the_hub_says_is_told_with_a_remedy(model, disk_hub):
    answer = SimpleNamespace(headers={}, request=None)
    disk_hub.refusal = HfHubHTTPError("401 Unauthorized\nmore", response=answer)
    with pytest.raises(ConnectionError, match=r"did not take me/shapes: 401 Unauthorized; .*`hf auth login`"):
        pagoda.push_to_hub(model, "me/shapes")
    disk_hub.calls.clear()
    for name in ("shapes", "hf:me/shapes", "me/shapes/x", ""):
        with pytest.raises(ValueError, match="is called OWNER/REPO"):
            pagoda.push_to_hub(model, name)
    assert not disk_hub.calls


def test_names_that_are_neither_folder_nor_repository_are_refused(disk_hub, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"hf:me/shapes fetches it from the hub"):
        pagoda.from_pretrained("me/shapes")
    with pytest.raises(FileNotFoundError, match=r"no folder .* with model\.safetensors$"):
        pagoda.from_pretrained(tmp_path)
    for name in ("hf:shapes", "hf:me/shapes/best.safetensors"):
        with pytest.raises(ValueError, match="reads hf:OWNER/REPO or"):
            pagoda.from_pretrained(name)
    with pytest.raises(ValueError, match=r"model\.onnx is an exported file; hand over the checkpoint"):
        pagoda.save_pretrained("model.onnx", tmp_path / "x")
    assert not disk_hub.calls
