"""What counts as equal, as at a bound, and as proven: one name, one meaning each.

Relative unless it says otherwise. In three sizes: a few units in the last place, for
what is found by arithmetic alone; about 1e-12, for what a search ends at; about 1e-9,
for what a user is told, a thousand times coarser than any search's rounding and far
below what a radio could do.
"""

import numpy as np

EPSILON = float(np.finfo(np.float64).eps)

ROOT_RTOL = 4 * EPSILON
"""Width of a bracket, relative to its root, at which it is one point: no number to
speak of lies between its ends."""

SUM_RTOL = 16 * EPSILON
"""Rounding of a sum over clients: NumPy adds in pairs, so it hardly grows with K."""

SLOPE_ROUNDING = 1e-12
"""How much a slope or a price may fall and still count as rising: each is a quotient of
differences, which lose a few digits."""

TIME_ROUNDING = 1e-12
"""How much later than a deadline a time may be and still meet it."""

CLOCK_ROUNDING = 1e-12
"""How far before a sample of a trace a second of the clock may be and still be in it: a
clock that adds up rounds ends a few digits beside the sum."""

BAND_USED = 1e-12
"""Rest of the band at which the search for a deadline ends."""

BAND_NEARLY_USED = 1e-6
"""Rest of the band that a linear step fills: its error is the square of that. The
rounding of a deadline may leave more than `BAND_USED`."""

C5_ROUNDING = 1e-12
"""Rounding of what C5 counts where a proof adds it up from shares."""

C5_NEARLY_MET = 1e-9
"""Distance from C5 from where one step along the slopes meets it: its error is the
square of that."""

JUMP_RTOL = 1e-11
"""How finely a jump of one client's x_k(price) is located: who is better off on which
side of it is told by comparing two bands, each with its own rounding."""

OFF_PRICE = 1e-6
"""Distance from the wanted price from where dB_k/dx_k has jumped over it, as it does at
a modem's cap; far above what a search leaves, far below any cap's jump."""

DEADLINE_RTOL = 1e-10
"""How finely the deadline of the fastest set of clients is searched."""

ROUNDING = 1e-9
"""Excess over a constraint that is floating point, not a violation. Of kept fractions
and of what C5 counts for a client, which are of the order of 1, absolute."""

NO_SHARE = 2 * ROUNDING
"""Share of the band that is as good as none: what rounding can hide of C1, twice."""

PROVEN = 1e-9
"""Gap between latency and bound below which a point is the optimum."""

COARSE_GAP = 1e-9
"""Gap above which the last step towards a bound is halved: a bound that leaves more
would not do as `PROVEN`."""

MARGIN = 1e-9
"""Room above a feasible deadline, so that rounding cannot hide the optimum where the
point that it was taken from is the optimum already."""

AT_END = 1e-9
"""Time before the round's end that counts as at it."""

AT_BOUND = 1e-9
"""Distance of a share or a kept fraction to its bound that counts as at it, in the
optimality conditions; of x_k absolute. A client that is wrongly held inside shows up as
a residual."""

AT_BOUND_COARSE = 1e-7
"""The same where prices are told: coarser for safety, because a client at a bound that
is taken to be inside would get a price from a slope that does not hold it. `AT_BOUND`
gave the same prices on a hundred random instances."""
