"""The flags by which pictures are looked at by many processes."""

from dataclasses import dataclass
from typing import Literal

from pagoda.plain import checked


@checked
@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Of `pagoda predict`.

    >>> ClusterOptions(workers=2).refuse_unused()
    Traceback (most recent call last):
    ValueError: --workers is for --engine ray; say that too, or leave it out
    """

    engine: Literal["local", "ray"] = "local"
    """ray: by many processes, on this machine or a cluster, which go on where they were stopped (docs/scale.md)"""
    workers: int | None = None
    """with --engine ray: processes that look at pictures; default: one for each core, or GPU, of the cluster"""
    threads: int | None = None
    """with --engine ray: of each worker; default: 1"""
    cluster: str = ""
    """with --engine ray: the address of a cluster that runs, or auto for the one that this machine belongs to; default:
    one is started here for this command alone"""

    def refuse_unused(self) -> None:
        """Raises ValueError for what speaks of workers without an engine that has them."""
        given = {"--workers": self.workers, "--threads": self.threads, "--cluster": self.cluster}
        words = [flag for flag, value in given.items() if value not in (None, "")]
        if words and self.engine == "local":
            has = "is" if len(words) == 1 else "are"
            what = "it" if len(words) == 1 else "them"
            raise ValueError(f"{', '.join(words)} {has} for --engine ray; say that too, or leave {what} out")
