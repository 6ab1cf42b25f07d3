"""Whose updates counted in which round, by a run's records."""

from collections.abc import Mapping, Sequence
from typing import Any


def last_counted(records: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Return the last record in which an update of each client counted.

    Clients of whom none did are left out.
    """
    return {
        k: record
        for record in records
        for k, loss in enumerate(record.get("client_train_loss", ()))
        if loss is not None
    }
