"""The mean loss of a config's links: fixed, from a fleet's columns, or by distance."""

from collections.abc import Callable

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.streams import stream
from trimwave.base.units import FloatArray
from trimwave.cell.link import DIRECTIONS
from trimwave.cell.path_loss import distance_fault, path_loss_db
from trimwave.recipe.config import Config
from trimwave.recipe.fleet import Fleet


def mean_loss_db(config: Config, fleet: Fleet | None) -> float | FloatArray:
    """Return the mean loss of every link, or [2, K] of each, down then up [dB].

    Raises
    ------
    InputError
        If there are distances without a model, a model without distances, or a distance
        out of the model's range.
    """
    radio = config.radio
    if fleet is not None and any(fleet.links.values()):
        given = np.full((2, fleet.num_clients), radio.path_loss_db)
        for row, direction in enumerate(DIRECTIONS):
            name = fleet.links[direction] or ""
            if name == "distance_m":
                given[row] = _of_fleet(config, fleet)
            elif name.startswith("path_loss"):
                given[row] = fleet.found.values[name]
        return given
    if radio.path_loss_model == "fixed":
        return radio.path_loss_db
    if radio.distance_m is None:
        raise InputError(
            f"`radio.path_loss_model` = {radio.path_loss_model} needs distances: "
            "`radio.distance_m` = [low, high], or a column `distance_m` of "
            "`cell.clients`."
        )
    clients = config.cell.num_clients
    distance_m = stream(config.seed, "distances").uniform(*radio.distance_m, clients)
    loss_db = _by_distance(config, distance_m, lambda k: "`radio.distance_m`")
    return np.broadcast_to(loss_db, (2, clients))


def _of_fleet(config: Config, fleet: Fleet) -> FloatArray:
    if config.radio.path_loss_model == "fixed":
        raise InputError(
            f"{fleet.found.path} has a column "
            f"`{fleet.found.headings['distance_m']}`; set `radio.path_loss_model` to "
            "UMa, UMi or InH, and `radio.carrier_hz`."
        )
    return _by_distance(
        config,
        fleet.found.values["distance_m"],
        lambda client: fleet.found.where(client, "distance_m"),
    )


def _by_distance(
    config: Config, distance_m: FloatArray, place: Callable[[int], str]
) -> FloatArray:
    """Return the model's loss, [K] [dB]; `place` says where a distance stands."""
    radio = config.radio
    assert radio.path_loss_model != "fixed"
    for client, distance in enumerate(distance_m.tolist()):
        fault = distance_fault(radio.path_loss_model, distance)
        if fault is not None:
            raise InputError(f"{place(client)}: {fault}.")
    return path_loss_db(
        radio.path_loss_model, radio.line_of_sight, distance_m, radio.carrier_hz
    )
