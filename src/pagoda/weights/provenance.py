"""How the weights in a file of another program were found: which, under which key, and what lies beside them."""

from dataclasses import dataclass

from pagoda.weights.wrappers import is_averaged


@dataclass(frozen=True)
class Reading:
    """What a person should know of how the weights in a file were found.

    >>> Reading("model", beside=("'ema' (3 tensors, averaged)",)).choice().partition(":")[2]
    " take='ema' (--take ema) takes those"
    """

    taken: str = ""
    """the key; empty where they lay open"""
    beside: tuple[str, ...] = ()
    """other weights in the file: averages, a teacher"""
    notes: tuple[str, ...] = ()
    """what was cut off from names, and what was left out"""
    dropped: tuple[str, ...] = ()
    """optimizer states and objects of other programs"""

    def choice(self) -> str:
        """Which weights were taken where there are others; empty where nothing was to choose."""
        if not self.beside:
            return (
                f"only averaged weights are in the file, under {self.taken!r}"
                if is_averaged(self.taken)
                else ""
            )
        words = [each.split("'")[1] for each in self.beside]
        return (
            f"the weights {f'under {self.taken!r}' if self.taken else 'at the top of the file'} were taken; beside"
            f" them lie {', '.join(self.beside)}: take='{words[0]}' (--take {words[0]}) takes those"
        )
