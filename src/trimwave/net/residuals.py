"""What a device's updates in 8 bits have rounded off, kept over its restarts."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from trimwave.base.stored import disk_errors, write_atomic
from trimwave.lm.wire.ledger import Tensors
from trimwave.lm.wire.tensor_files import metadata_of

KEPT = 2
"""Rounds that are kept: whoever is asked for a round again begins it as it did."""


@dataclass(frozen=True)
class Residuals:
    """Files of a device, one per round."""

    folder: Path

    def before(self, run: str, round_index: int) -> Tensors:
        """Return what was left after the last round before this one; {} if none was.

        What cannot be read is nothing: some rounding is then not made up for.
        """
        found = {}
        for path in self.folder.glob("residual-*.safetensors"):
            with suppress(SafetensorError, OSError, KeyError, ValueError):
                said = metadata_of(path)
                if said["run"] == run and int(said["round"]) < round_index:
                    found[int(said["round"])] = path
        if found:
            with suppress(SafetensorError, OSError):
                tensors: Tensors = load(found[max(found)].read_bytes())
                return tensors
        return {}

    def keep(self, run: str, round_index: int, tensors: Tensors) -> None:
        """Note what is left after a round.

        Raises
        ------
        RunError
            If the disk refuses.
        """
        if not tensors:
            return
        path = self.folder / f"residual-{round_index % KEPT}.safetensors"
        data = save(tensors, metadata={"run": run, "round": str(round_index)})
        with disk_errors(path, "the round does not count", "free some space"):
            write_atomic(path, data)
