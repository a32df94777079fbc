"""A file to the detector in it."""

from collections.abc import Sequence
from pathlib import Path

from pagoda_runtime.backends import CLIP, OpenedFile, open_file
from pagoda_runtime.clips import open_clips
from pagoda_runtime.errors import ModelFileError
from pagoda_runtime.model import Model


def load(path: str | Path, *, threads: int | None = None, providers: Sequence[str] | None = None) -> Model:
    """The detector in a file that `pagoda export` wrote: `.onnx`, or `.xml` of OpenVINO.

    Of clips it is a `ClipModel`, which tracks; of two files that belong together NAME.clips.onnx is handed over.

    Args:
        threads: that compute one picture; None: as many as the processor has cores.
        providers: where it computes: ONNX Runtime's execution providers, the preferred one first, or OpenVINO's
            device; None: the processor.

    Raises FileNotFoundError, ModelFileError for a file that cannot be opened or that another program wrote,
    ImportError for an `.xml` where OpenVINO is not installed, ValueError for providers that are not there.
    """
    opened = open_file(path, threads=threads, providers=providers)

    def open_beside(other: Path) -> OpenedFile:
        return open_file(other, threads=threads, providers=providers)

    try:
        return open_clips(path, opened, open_beside) if CLIP in opened.metadata else Model(opened)
    except ModelFileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"cannot use {path}: {error}") from error
