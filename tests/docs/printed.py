"""What is shown and what is printed: the same but for rounding."""

import math
import re

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def assert_same(shown: str, printed: str) -> None:
    """Compare words exactly, numbers but for rounding, spaces not at all."""
    words, found = (NUMBER.sub("#", text).split() for text in (shown, printed))
    assert words == found
    numbers = [list(map(float, NUMBER.findall(text))) for text in (shown, printed)]
    for ours, theirs in zip(*numbers, strict=True):
        assert math.isclose(ours, theirs, rel_tol=2e-3, abs_tol=1e-9)
