"""Weights with their page: into a folder, out of one, and to the Hugging Face hub when somebody says so."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from pagoda.data.reading.splits import chosen_with
from pagoda.data.table.fingerprint import fingerprint
from pagoda.detectors.contract import Detector
from pagoda.evaluation.coco.comparison import ap_intervals
from pagoda.evaluation.runner import collect
from pagoda.files.atomic import make_folder, write_atomically
from pagoda.hub.model_card import Published, Scores
from pagoda.messages import counted
from pagoda.models import is_exported, load
from pagoda.plain import JsonObject
from pagoda.recipes.datasets import dataset_for, open_source
from pagoda.recipes.target_fields import lighten
from pagoda.weights.file_types import HUB, is_remote
from pagoda.weights.files import has_card, read_card, save_weights
from pagoda.weights.remote import fetch
from pagoda.weights.shards import sha256_of

WEIGHTS, PAGE = "model.safetensors", "README.md"
REPO = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


def save_pretrained(
    model: str | Path | Detector,
    folder: str | Path,
    *,
    data: str | Path | None = None,
    split: str = "val",
    licence: str = "",
    name: str = "",
    repo: str = "OWNER/REPO",
    overwrite: bool = False,
) -> Path:
    """A folder with `model.safetensors` and a `README.md` that the Hugging Face hub reads; asks no network.

    The page says what the model is, its scores, the fingerprint of its data, the SHA-256 of the file and under which
    licence it and what it began from stand. A checkpoint of a run goes in byte by byte, with the scores that chose it.

    Args:
        model: a checkpoint (path or address), or a detector, as those that are not in the zoo have to be.
        data: a data set to score on, whose numbers then come with 95 % intervals of 2000 bootstrap samples.
        split: which part of it.
        licence: of these weights, as in SPDX ("Apache-2.0"); left out, the page says that nobody has stated one.
        name: the title; default: the name of the folder.
        repo: where it will lie on the hub, for the lines of code on the page.
        overwrite: replace the two files where they are there already.

    Raises FileExistsError for files that are there, before any work; ValueError for exported files.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.models import create_model
    >>> with TemporaryDirectory() as place:
    ...     model = create_model("fcos_ghostnet_50_fpn", num_classes=2, width=16)
    ...     folder = save_pretrained(model, f"{place}/shapes", licence="Apache-2.0")
    ...     sorted(file.name for file in folder.iterdir()), len(from_pretrained(folder).label_map)
    (['README.md', 'model.safetensors'], 2)
    """
    folder = Path(folder)
    taken = [place for place in (folder / WEIGHTS, folder / PAGE) if place.exists()]
    if taken and not overwrite:
        raise FileExistsError(f"{taken[0]} exists; choose another folder or say overwrite=True")
    named = getattr(model, "path", "") if isinstance(model, Detector) else model
    if is_exported(named):
        raise ValueError(f"{named} is an exported file; hand over the checkpoint that it was made of")
    path = None if isinstance(model, Detector) else fetch(str(model)) if is_remote(model) else Path(model)
    detector = model if isinstance(model, Detector) else load(model)
    scores = None if data is None else _scores(detector, data, split)
    make_folder(folder)
    weights = folder / WEIGHTS
    if path is not None and has_card(path):
        write_atomically(weights, lambda draft: shutil.copyfile(path, draft))
    else:
        save_weights(weights, detector.state_dict(), detector.card())
    card = read_card(weights)
    page = Published(
        name=name or folder.resolve().name,
        card=card,
        sha256=sha256_of(weights),
        num_bytes=weights.stat().st_size,
        num_parameters=sum(parameter.numel() for parameter in detector.parameters()),
        licence=licence,
        scores=scores or _scores_of(card),
        repo=repo,
    )
    write_atomically(folder / PAGE, lambda draft: draft.write_text(page.text(), encoding="utf-8"))
    return folder


def from_pretrained(
    place: str | Path, *, build: Callable[[int], Detector] | None = None, device: str | None = None
) -> Detector:
    """The model of a folder that `save_pretrained` wrote, or of "hf:OWNER/REPO" ("hf:OWNER/REPO@REVISION") on the hub.

    Only the second one asks the network, once; the file is kept. `build` composes a model that is not in the zoo, as in
    `models.load`. Raises FileNotFoundError where there is no such
    folder, or no weights in it, WeightsError for what `models.load` refuses.

    >>> from_pretrained("somebody/shapes")
    Traceback (most recent call last):
    FileNotFoundError: no folder somebody/shapes with model.safetensors; hf:somebody/shapes fetches it from the hub
    """
    place = str(place)
    if place.startswith(HUB):
        repo = place.removeprefix(HUB).lstrip("/")
        if not REPO.fullmatch(repo):
            raise ValueError(
                f"a repository of the hub reads hf:OWNER/REPO or hf:OWNER/REPO@REVISION, got '{place}'"
            )
        return load(f"{HUB}{repo}/{WEIGHTS}", build=build, device=device)
    file = Path(place, WEIGHTS)
    if not file.is_file():
        remedy = f"; {HUB}{place} fetches it from the hub" if REPO.fullmatch(place) else ""
        raise FileNotFoundError(f"no folder {place} with {WEIGHTS}{remedy}")
    return load(file, build=build, device=device)


def push_to_hub(
    model: str | Path | Detector,
    repo: str,
    *,
    data: str | Path | None = None,
    split: str = "val",
    licence: str = "",
    private: bool = True,
    message: str = "",
    token: str | None = None,
) -> str:
    """The address of the commit by which `save_pretrained`'s folder went to OWNER/REPO on the Hugging Face hub.

    The repository is made where it is missing, private unless `private=False` says otherwise. `token` is one that may
    write; None: that of `hf auth login`. The other arguments are those of `save_pretrained`.

    Raises ValueError for a name that is no OWNER/REPO, before any work, ConnectionError where the hub does not take it.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ValueError(f"a repository of the hub is called OWNER/REPO, got '{repo}'")
    from huggingface_hub import HfApi

    with TemporaryDirectory() as folder:
        save_pretrained(
            model, folder, data=data, split=split, licence=licence, name=repo.partition("/")[2], repo=repo
        )
        api = HfApi(token=token)
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo, folder_path=folder, commit_message=message or "Weights and their page"
            )
        except Exception as error:  # its client has a dozen kinds, by its version
            raise ConnectionError(
                f"the hub did not take {repo}: {(str(error) or type(error).__name__).splitlines()[0]}; look at the name"
                " and the network, and give a token that may write: `hf auth login`, or token=…"
            ) from error
    return str(commit.commit_url)


def _scores(model: Detector, data: str | Path, split: str) -> Scores:
    """On a data set, with intervals."""
    with chosen_with("split"):
        dataset = dataset_for(model, open_source(model, data, split))
    evaluator, left_out = collect(model, dataset)
    result, names = evaluator.result(), evaluator.class_names()
    told = result.protocol
    if left_out:
        told += f"; {counted(left_out, 'detection')} of classes that the data do not have left out"
    return Scores(
        metrics=result.metrics,
        intervals=ap_intervals(evaluator.matches(), names),
        data=Path(data).resolve().name,
        split=split,
        fingerprint=fingerprint(lighten(dataset, model)),  # as a run reckons it
        protocol=f"{told}; intervals of 2000 bootstrap samples of the pictures.",
    )


def _scores_of(card: JsonObject) -> Scores | None:
    """Those that stand in the card of a run's checkpoint."""
    metrics = card.get("metrics")
    if not isinstance(metrics, dict):
        return None
    data = card.get("data")
    return Scores(metrics=metrics, fingerprint=data.get("val", "") if isinstance(data, dict) else "")
