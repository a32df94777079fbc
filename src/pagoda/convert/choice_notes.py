"""What should be known of weights that were loaded: warned of, or collected where lines are printed."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pagoda.convert.report import ConversionReport
from pagoda.weights.file_types import WeightsNote


def say_choice(report: ConversionReport, take: str | None) -> None:
    """Warns where a file holds other weights, too, and nobody said which; where some are no numbers; and where the
    network computes otherwise than the one they are from.

    >>> choice = "'model' was taken, not 'ema'"
    >>> report = ConversionReport("a.pth", "", "mmdet", "Apache-2.0", "", 0, 0, choice=choice)
    >>> with collected_notes() as lines:
    ...     say_choice(report, take=None)
    >>> lines
    ["a.pth: 'model' was taken, not 'ema'"]
    """
    if report.choice and take is None:
        warnings.warn(f"{report.file}: {report.choice}", WeightsNote, stacklevel=3)
    for said in (report.not_finite, report.differs):
        if said:
            warnings.warn(f"{report.file}: {said}", WeightsNote, stacklevel=3)


@contextmanager
def collected_notes() -> Iterator[list[str]]:
    """What `say_choice` warns of within, as lines, once the block has ended; other warnings stay warnings.

    >>> with collected_notes() as lines:
    ...     warnings.warn("'model' was taken, not 'ema'", WeightsNote)
    >>> lines
    ["'model' was taken, not 'ema'"]
    """
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", WeightsNote)
        yield lines
    for each in caught:
        if issubclass(each.category, WeightsNote):
            lines.append(str(each.message))
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
