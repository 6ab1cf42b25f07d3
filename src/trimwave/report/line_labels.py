"""Names at the ends of lines, none upon another."""

from collections.abc import Sequence
from typing import Any, NamedTuple

FONT_SIZE = 8
LETTER_WIDTH, LINE_HEIGHT = 0.62, 1.2
"""Of a letter and of a name, in font sizes; a little more than what they take."""

WIDER, MOST_STEPS = 1.02, 300
"""By what the axis grows until names have room, and how often at most."""

GAP = 5.0
"""Between a line's end and its name [pt]."""


class Name(NamedTuple):
    """What is to be written, and where the line that it names ends, in data."""

    text: str
    colour: str
    x: float
    y: float


class Box(NamedTuple):
    """Where a name stands [pt]."""

    left: float
    bottom: float
    width: float
    height: float

    def overlaps(self, other: "Box") -> bool:
        """Say whether two names would lie upon each other."""
        beside = (
            self.left >= other.left + other.width
            or other.left >= self.left + self.width
        )
        above = (
            self.bottom >= other.bottom + other.height
            or other.bottom >= self.bottom + self.height
        )
        return not (beside or above)


def places(ends: Sequence[tuple[float, float]], texts: Sequence[str]) -> list[Box]:
    """Return where each name goes: at its end, or as little above or below as can be.

    Parameters
    ----------
    ends : [N] of (x, y)
        Where the lines end [pt].
    texts : [N]
        Their names.
    """
    taken: list[Box] = []
    height = LINE_HEIGHT * FONT_SIZE
    for (x, y), text in zip(ends, texts, strict=True):
        step, box = 0, Box(x + GAP, y - height / 2, _width_pt(text), height)
        while any(box.overlaps(one) for one in taken):
            step = -step if step > 0 else 1 - step  # 1, -1, 2, -2, ...
            box = box._replace(bottom=y - height / 2 + step * height)
        taken.append(box)
    return taken


def write_names(axis: Any, names: Sequence[Name]) -> None:
    """Write each name at its line's end; where it had to move, a thread leads there.

    The right limit moves until every name ends inside the axis.

    Parameters
    ----------
    axis : matplotlib axes
        Whose limits are set, in a figure that is laid out.
    names : sequence of Name
        One per line.
    """
    from matplotlib.patheffects import withStroke

    _make_room(axis, names)
    ends = [_end_pt(axis, name) for name in names]
    boxes = places(ends, [name.text for name in names])
    for name, (_, y), box in zip(names, ends, boxes, strict=True):
        moved = box.bottom + box.height / 2 - y
        thread = {
            "arrowstyle": "-",
            "color": name.colour,
            "linewidth": 0.5,
            "relpos": (0, 0.5),
            "shrinkA": 0,
            "shrinkB": 0,
        }
        axis.annotate(
            name.text,
            (name.x, name.y),
            xytext=(GAP, moved),
            textcoords="offset points",
            verticalalignment="center",
            fontsize=FONT_SIZE,
            color=name.colour,
            parse_math=False,
            annotation_clip=False,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops=thread if moved else None,
            zorder=1.9,  # below the lines: a name hides none
        )


def _make_room(axis: Any, names: Sequence[Name]) -> None:
    right_pt = axis.bbox.x1 * 72 / axis.figure.dpi
    for _ in range(MOST_STEPS):
        reach = (_end_pt(axis, name)[0] + GAP + _width_pt(name.text) for name in names)
        if max(reach, default=0.0) <= right_pt:
            return
        left, right = axis.get_xlim()
        axis.set_xlim(left, right * WIDER)


def _end_pt(axis: Any, name: Name) -> tuple[float, float]:
    """Return where a name's line ends, in the figure [pt]."""
    x, y = axis.transData.transform((name.x, name.y)) * 72 / axis.figure.dpi
    return float(x), float(y)


def _width_pt(text: str) -> float:
    return LETTER_WIDTH * FONT_SIZE * len(text)
