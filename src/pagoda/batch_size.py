"""How many pictures are computed together, until memory says fewer."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch

from pagoda.messages import counted
from pagoda.plain import check_counts, checked

Item = TypeVar("Item")
Made = TypeVar("Made")
AnyBatchSize = int | Literal["auto"]
"""so many, or as many as suit the device: see `BatchSize`"""
OF_PROCESSORS, OF_ACCELERATORS = 8, 16
"""what "auto" begins with: more gain nothing on two cores, and pictures are of several sizes"""
PIXELS_TOGETHER = 2 * 480 * 640
"""of pictures as a network takes them, that a processor works on together: more of them are no quicker"""
PIXELS_HELD = 2**22
"""of pictures as they were read, that wait for each other in memory"""


@checked
class BatchSize:
    """So many items are worked on at a time, half as many each time they do not fit into memory.

    `wanted` "auto" suits the device: 8 on processors, 16 on accelerators. Raises ValueError for a number below 1.

    >>> size = BatchSize(3)
    >>> size.run(lambda numbers: [sum(numbers)] * len(numbers), [1, 2, 3, 4])
    [6, 6, 6, 4]
    >>> size.of((480, 640)), BatchSize("auto").of((480, 640)), BatchSize("auto").of((120, 160))
    (3, 2, 8)
    """

    size: int
    """how many at a time, from now on"""

    def __init__(self, wanted: AnyBatchSize, device: torch.device | None = None) -> None:
        on_processor = device is None or device.type == "cpu"
        self._is_processors_own = on_processor and wanted == "auto"
        self.size = (OF_PROCESSORS if on_processor else OF_ACCELERATORS) if wanted == "auto" else wanted
        check_counts(batch_size=self.size)

    def of(self, seen: tuple[int, int], held: tuple[int, int] = (1, 1)) -> int:
        """How many pictures at a time, of this (height, width) as the network takes them and as they were read: with
        "auto" a processor takes fewer of large ones."""
        if not self._is_processors_own:
            return self.size
        fit = min(PIXELS_TOGETHER // math.prod(seen), PIXELS_HELD // math.prod(held))
        return max(1, min(self.size, fit))

    def run(
        self,
        work: Callable[[Sequence[Item]], Sequence[Made]],
        items: Sequence[Item],
        *,
        most: int | None = None,
    ) -> list[Made]:
        """`work` of all items, so many at a time, and no more than `most`. A line on standard error says when they
        become fewer for want of memory.

        Raises the error of memory where not even one fits.
        """
        made: list[Made] = []
        while len(made) < len(items):
            part = items[len(made) : len(made) + min(self.size, most or self.size)]
            try:
                made.extend(work(part))
            except RuntimeError as error:
                if not is_out_of_memory(error) or len(part) == 1:
                    raise
                told = str(error).splitlines()[0]
            else:
                continue
            # Outside the handler, whose traceback holds what did not fit.
            self.size = len(part) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            print(
                f"{counted(len(part), 'picture')} together do not fit into memory ({told}); going on with"
                f" {self.size} at a time",
                file=sys.stderr,
            )
        return made


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or the system, had no more memory to give.

    >>> is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory.")), is_out_of_memory(RuntimeError("shape"))
    (True, False)
    """
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate" in str(error)
