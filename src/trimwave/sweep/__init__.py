"""Plans without training, one or many."""

from trimwave.base.moved import signpost

__getattr__ = signpost(__name__, "sweep.sweep", ("Draw", "read_rows", "run_sweep"))
