"""P1 with its constraints C1 to C5, and its answer."""

from trimwave.base.moved import signpost

__getattr__ = signpost(__name__, "problem.problem", ("Problem",))
