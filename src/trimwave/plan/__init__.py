"""The seam: what a method sees and what it decides."""

from trimwave.base.moved import signpost

__getattr__ = signpost(
    __name__, "plan.plan", ("Alignment", "Plan", "Scheme", "Situation")
)
