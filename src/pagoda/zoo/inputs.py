"""What a model of the zoo expects of its pictures: as its flavour has it, but for what the options say."""

from dataclasses import replace

from pagoda.preprocess import InputSpec
from pagoda.zoo.options import ModelOptions, given


def input_spec(options: ModelOptions, spec: InputSpec) -> InputSpec:
    """The flavour's `spec` at the size, fitted in the way and with the channels asked for.

    Raises ValueError where mean and std do not fit the channels.
    """
    count = given(options.in_channels, 3)
    mean, std = options.mean or of_channels(spec.mean, count), options.std or of_channels(spec.std, count)
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != count:
            raise ValueError(f"in_channels={count} needs {count} numbers in {name}, got {values}")
    return replace(
        spec,
        short_side=given(options.short_side, spec.short_side),
        long_side=given(options.long_side, spec.long_side),
        canvas=spec.canvas if options.canvas is None else options.canvas,
        fit=options.fit or spec.fit,
        mean=mean,
        std=std,
    )


def of_channels(of_colors: tuple[float, ...], count: int) -> tuple[float, ...]:
    """Statistics of red, green and blue as those of `count` channels: others than these have their average.

    >>> of_channels((1.0, 2.0, 6.0), 1), of_channels((1.0, 2.0, 6.0), 4)
    ((3.0,), (1.0, 2.0, 6.0, 3.0))
    """
    average = sum(of_colors) / len(of_colors)
    if count < 3:
        return (average,) * count
    return (*of_colors, *[average] * (count - 3))
