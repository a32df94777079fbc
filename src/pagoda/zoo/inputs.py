"""What a model of the zoo expects of its pictures: as its flavour has it, but for what the options say."""

from dataclasses import replace

from pagoda.preprocess import InputSpec
from pagoda.zoo.option_groups import CanvasOptions, ChannelOptions, PixelOptions, SideOptions
from pagoda.zoo.options import given


def input_spec(options: PixelOptions, spec: InputSpec) -> InputSpec:
    """The flavour's `spec` at the size, fitted in the way and with the channels asked for.

    Raises ValueError where mean and std do not fit the channels.

    >>> spec = input_spec(ChannelOptions(in_channels=1), InputSpec(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2)))
    >>> [round(value, 3) for value in spec.mean]
    [0.5]
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
    """`spec` with pictures resized to the sides asked for.

    >>> of_sides(SideOptions(short_side=320), InputSpec()).short_side, InputSpec().short_side
    (320, 800)
    """
    return replace(
        spec,
        short_side=given(options.short_side, spec.short_side),
        long_side=given(options.long_side, spec.long_side),
    )


def size_options(spec: InputSpec) -> type[SideOptions] | type[CanvasOptions]:
    """The option group for the size of pictures where a flavour reads them as `spec` says.

    >>> specs = InputSpec(), InputSpec(fit="letterbox", canvas=(512, 512))
    >>> size_options(specs[0]).__name__, size_options(specs[1]).__name__
    ('SideOptions', 'CanvasOptions')
    """
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
