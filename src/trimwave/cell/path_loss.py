"""Mean path loss by distance and carrier: 3GPP TR 38.901, Table 7.4.1-1.

Distances are horizontal, d_2D. Heights are the standard ones of Tables 7.2-1 and 7.2-2;
there the effective environment height h_E is 1 m. Shadow fading, the probability of a
line of sight (Table 7.4.2-1) and losses into buildings (clause 7.4.3) are left out.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from trimwave.base.units import FloatArray

Model = Literal["UMa", "UMi", "InH"]
MODELS: tuple[Model, ...] = get_args(Model)
Sight = Literal["los", "nlos"]

LIGHT_M_PER_S = 3.0e8
"""As note 1 of the table takes it."""

ENVIRONMENT_M = 1.0
"""h_E: of UMi, and of UMa for terminals below 13 m."""

CARRIERS_HZ = 0.5e9, 100e9
"""Where the table holds."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """The numbers of one scenario: a + b log10(d_3D) + c log10(f) and so on, in dB."""

    server_height_m: float
    client_height_m: float
    least_m: float
    """Least distance of the table, d_2D or, for InH, d_3D."""
    most_m: float
    los: tuple[float, float]
    """Constant and slope over log10(d_3D) up to the breakpoint; 20 log10(f) beside."""
    beyond: float | None
    """Factor of the term of the breakpoint, from where the slope is 40; None = none."""
    nlos: tuple[float, float, float]
    """Constant, and slopes over log10(d_3D) and log10(f), with f in GHz."""


SCENARIOS: dict[Model, Scenario] = {
    "UMa": Scenario(
        server_height_m=25.0,
        client_height_m=1.5,
        least_m=10.0,
        most_m=5e3,
        los=(28.0, 22.0),
        beyond=9.0,
        nlos=(13.54, 39.08, 20.0),
    ),
    "UMi": Scenario(
        server_height_m=10.0,
        client_height_m=1.5,
        least_m=10.0,
        most_m=5e3,
        los=(32.4, 21.0),
        beyond=9.5,
        nlos=(22.4, 35.3, 21.3),
    ),
    "InH": Scenario(
        server_height_m=3.0,
        client_height_m=1.0,
        least_m=1.0,
        most_m=150.0,
        los=(32.4, 17.3),
        beyond=None,
        nlos=(17.3, 38.3, 24.9),
    ),
}
"""Urban macro, urban micro (street canyon), indoor (office). The height terms of the
NLOS formulas, over h_UT - 1.5 m, are 0."""


def distance_fault(model: Model, distance_m: float) -> str | None:
    """Say why a distance is out of the table's range; None where it is in it."""
    one = SCENARIOS[model]
    length_m = _d3_m(one, distance_m) if one.beyond is None else distance_m
    if one.least_m <= length_m <= one.most_m:
        return None
    return (
        f"{distance_m:g} m is out of the range of {model} in 3GPP TR 38.901, Table "
        f"7.4.1-1, {one.least_m:g} to {one.most_m:g} m"
    )


def breakpoint_m(model: Model, carrier_hz: float) -> float:
    """d'_BP = 4 h'_BS h'_UT f_c / c, note 1 of the table [m]; inf if there is none."""
    one = SCENARIOS[model]
    if one.beyond is None:
        return np.inf
    server_m = one.server_height_m - ENVIRONMENT_M
    client_m = one.client_height_m - ENVIRONMENT_M
    return 4 * server_m * client_m * carrier_hz / LIGHT_M_PER_S


def path_loss_db(
    model: Model, sight: Sight, distance_m: FloatArray, carrier_hz: float
) -> FloatArray:
    """Mean path loss, in the shape of the distances [dB].

    Parameters
    ----------
    model : {"UMa", "UMi", "InH"}
        The scenario.
    sight : {"los", "nlos"}
        With a line of sight, or without.
    distance_m : [...]
        d_2D, within the range that `distance_fault` knows [m].
    carrier_hz : float
        f_c, 0.5 to 100 GHz [Hz].
    """
    one, log_ghz = SCENARIOS[model], np.log10(carrier_hz / 1e9)
    height_m = one.server_height_m - one.client_height_m
    log_d3 = np.log10(_d3_m(one, distance_m))
    constant, slope = one.los
    loss_db = constant + slope * log_d3 + 20 * log_ghz
    if one.beyond is not None:
        bend_m = breakpoint_m(model, carrier_hz)
        bend = one.beyond * np.log10(bend_m**2 + height_m**2)
        far_db = constant + 40 * log_d3 + 20 * log_ghz - bend
        loss_db = np.where(distance_m <= bend_m, loss_db, far_db)
    if sight == "los":
        return np.asarray(loss_db)
    constant, slope, over_f = one.nlos
    return np.maximum(loss_db, constant + slope * log_d3 + over_f * log_ghz)


def _d3_m(one: Scenario, distance_m: FloatArray | float) -> FloatArray:
    """d_3D, from mast to terminal [m]."""
    return np.hypot(distance_m, one.server_height_m - one.client_height_m)
