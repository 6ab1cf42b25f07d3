"""The settings of a run over a network."""

from dataclasses import dataclass
from typing import Literal

from trimwave.base.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class NetConfig:
    """A run over a network: `--backend flower`, `trimwave serve`."""

    deadline_s: float = 0.0
    """Longest that a round waits for answers [s]; 0 = until every client has answered
    or is gone."""
    absence_s: float = 120.0
    """How long a client may be gone before a round ends without it, and how long a run
    waits for its clients at its start [s]."""
    quorum: float = 0.5
    """Part of the clients asked that must answer for a round to count."""
    measured: Literal["off", "devices", "all"] = "off"
    """What the clients measure of themselves and plans are made from, in place of the
    recipe's cell: ``devices``, training speed and free memory; ``all``, also the rates
    of their links, which then take nothing of the band."""
    pace: bool = True
    """Keep each transfer to the client's planned share."""
    pace_devices: bool = False
    """Hold each device's training to the speed that it is planned with, by the FLOPs
    counted while it trains: for an emulation of slower devices."""
    mirror: str = ""
    """URL of a store that blobs are copied to (`s3://bucket/path`, `file:///path`)."""
    mirror_url: str = ""
    """Where clients fetch them from then; left out = `mirror`."""

    def __post_init__(self) -> None:
        for name in ("deadline_s", "absence_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(
                    f"`net.{name}` must be at least 0, got {getattr(self, name)}."
                )
        if not 0 < self.quorum <= 1:
            raise InputError(f"`net.quorum` must be in (0, 1], got {self.quorum}.")
