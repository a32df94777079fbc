"""Deformable convolutions of a ResNet, read off its tensors: which blocks have them, of which kind, in how many groups.

Version 1 has 18 rows of offsets per group, version 2 (modulated) 27: 54 rows may be three groups or two.
"""

import re
from collections.abc import Mapping

from pagoda.convert.architecture.plugins import Shapes
from pagoda.plain import JsonObject
from pagoda.weights.files import WeightsError

ROWS = {"v2": 27, "v1": 18}
OFFSET = re.compile(r"layer(\d)\.(\d+)\.conv2\.offset\.weight")
CONFIG = re.compile(r"type['\"]?\s*[=:]\s*['\"](DCNv2|ModulatedDeformConv\w*|DCN|DeformConv\w*)['\"]")
MODULATED = re.compile(r"MODULATED:\s*(true|false)", re.IGNORECASE)
NAME = re.compile(r"(dcnv2|mdconv|mdcn|mdpool)|(dcnv1|dconv|dcn)")


def deform_options(body: Shapes) -> JsonObject:
    """Which stages, or blocks, are deformable, and how. Where both kinds fit the modulated one is given."""
    blocks = _deform_blocks(body)
    levels = tuple(level for level, stage in enumerate(blocks, start=2) if any(stage))
    if not levels:
        return {}
    kind, groups = _kinds_of(body)[0]
    options: JsonObject = {"deform": kind, "deform_levels": levels, "deform_groups": groups}
    is_whole = [all(stage) for stage in blocks if any(stage)]
    # layer1 does not stride, so its first block is deformable in any case
    strided = [
        all(stage) if level == 2 else stage == (False, *[True] * (len(stage) - 1))
        for level, stage in enumerate(blocks, start=2)
        if any(stage)
    ]
    if all(is_whole):
        return options
    if all(strided):
        return {**options, "deform_fallback": True}
    return {"deform": kind, "deform_groups": groups, "deform_blocks": blocks}


def _deform_blocks(body: Shapes) -> tuple[tuple[bool, ...], ...]:
    """For each stage that is there, from layer1 on, which of its blocks are deformable."""
    blocks: dict[int, dict[int, bool]] = {}
    for name in body:
        if found := re.match(r"layer(\d)\.(\d+)\.", name):
            stage, index = int(found[1]), int(found[2])
            blocks.setdefault(stage, {}).setdefault(index, False)
            blocks[stage][index] |= OFFSET.fullmatch(name) is not None
    return tuple(tuple(stage[index] for index in sorted(stage)) for _, stage in sorted(blocks.items()))


def _kinds_of(body: Shapes) -> list[tuple[str, int]]:
    """(kind, groups) that fit the rows of all offsets and divide the channels; the modulated one first."""
    rows = {shape[0] for name, shape in body.items() if OFFSET.fullmatch(name)}
    channels = {shape[1] for name, shape in body.items() if OFFSET.fullmatch(name)}
    if len(rows) != 1:
        raise WeightsError(
            f"its blocks have offsets of unlike many rows ({', '.join(map(str, sorted(rows)))})"
        )
    (count,) = rows
    found = [
        (kind, count // each)
        for kind, each in ROWS.items()
        if count % each == 0 and not any(width % (count // each) for width in channels)
    ]
    if not found:
        raise WeightsError(
            f"its offsets have {count} rows, which are no whole groups of 18 (version 1) or 27 (version 2) that divide"
            f" {', '.join(map(str, sorted(channels)))} channels"
        )
    return found


def told_kind(
    options: Mapping[str, object], body: Shapes, metadata: Mapping[str, object], file: str
) -> tuple[JsonObject, str | None]:
    """(options with the kind that the file's config or name says where both kinds fit, a question where none does)."""
    if options.get("deform", "none") == "none":
        return dict(options), None
    fitting = dict(_kinds_of(body))
    if len(fitting) == 1:
        return dict(options), None
    kind = _recorded_kind(metadata, file)
    if kind is not None:
        return {**options, "deform": kind, "deform_groups": fitting[kind]}, None
    first, second = (f"deform={kind!r}, deform_groups={count}" for kind, count in fitting.items())
    return dict(options), f"{first} and {second} have the same tensors"


def _recorded_kind(metadata: Mapping[str, object], file: str) -> str | None:
    """ "v1" or "v2" by mmdetection's config, Detectron's, or the name."""
    meta = metadata.get("meta")
    texts = [
        *(meta.values() if isinstance(meta, Mapping) else ()),
        metadata.get("cfg"),
        metadata.get("config"),
    ]
    for text in texts:
        if isinstance(text, str) and (found := CONFIG.search(text)):
            return "v2" if found[1].startswith(("DCNv2", "Modulated")) else "v1"
        if isinstance(text, str) and (found := MODULATED.search(text)):
            return "v2" if found[1].lower() == "true" else "v1"
    named = NAME.search(file.lower())
    return None if named is None else "v2" if named[1] else "v1"
