"""What a model of the zoo expects of its pictures: as its flavour has it, but for what the options say."""

from dataclasses import replace

from pagoda.preprocess import InputSpec
from pagoda.zoo.option_groups import CanvasOptions, ChannelOptions, PixelOptions, SideOptions
from pagoda.zoo.options import given


def input_spec(options: PixelOptions, spec: InputSpec) -> InputSpec:
    """The flavour's `spec` at the size, fitted in the way and with the channels asked for.

    Raises ValueError where mean and std do not fit the channels.
    """
    count = given(options.in_channels, 3) if isinstance(options, ChannelOptions) else 3
    mean, std = options.mean or of_channels(spec.mean, count), options.std or of_channels(spec.std, count)
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != count:
            raise ValueError(f"in_channels={count} needs {count} numbers in {name}, got {values}")
    spec = replace(spec, mean=mean, std=std)
    if isinstance(options, SideOptions):
        spec = of_sides(options, spec)
    if isinstance(options, CanvasOptions):
        canvas = spec.canvas if options.canvas is None else options.canvas
        spec = replace(spec, canvas=canvas, fit=options.fit or spec.fit)
    return spec


def of_sides(options: SideOptions, spec: InputSpec) -> InputSpec:
    """Pictures resized to the sides asked for."""
    return replace(
        spec,
        short_side=given(options.short_side, spec.short_side),
        long_side=given(options.long_side, spec.long_side),
    )


def size_options(spec: InputSpec) -> type[SideOptions] | type[CanvasOptions]:
    """How the size of pictures can be chosen where a flavour reads them as `spec` says."""
    return SideOptions if spec.canvas is None else CanvasOptions


def of_channels(of_colors: tuple[float, ...], count: int) -> tuple[float, ...]:
    """Statistics of red, green and blue as those of `count` channels: others than these have their average.

    >>> of_channels((1.0, 2.0, 6.0), 1), of_channels((1.0, 2.0, 6.0), 4)
    ((3.0,), (1.0, 2.0, 6.0, 3.0))
    """
    average = sum(of_colors) / len(of_colors)
    if count < 3:
        return (average,) * count
    return (*of_colors, *[average] * (count - 3))
