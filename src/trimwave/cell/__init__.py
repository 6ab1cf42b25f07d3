"""Who the clients are and how they hear the base station."""

from trimwave.base.moved import signpost

__getattr__ = signpost(__name__, "cell.cell", ("Cell",))
