"""What a device's updates in 8 bits have rounded off, kept over its restarts."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from trimwave.base.stored import disk_errors, write_atomic
from trimwave.lm.wire.ledger import Tensors
from trimwave.lm.wire.tensor_files import metadata_of


@dataclass(frozen=True)
class Residuals:
    """Files of a device, one per round."""

    folder: Path

    def before(self, run: str, round_index: int, counted: int) -> Tensors:
        """Return what was left after the last round before this one that counted.

        Parameters
        ----------
        run : str
            Another run's are not looked at.
        round_index : int
            Of this round.
        counted : int
            The last round whose update the server counted, 0 for none: what a later
            one took in has not arrived, and so is still left.

        Returns
        -------
        dict
            Empty where nothing was left. What cannot be read is nothing: some rounding
            is then not made up for.
        """
        last = min(counted, round_index - 1)
        found = {at: path for at, path in self._files(run).items() if at <= last}
        if found:
            with suppress(SafetensorError, OSError):
                tensors: Tensors = load(found[max(found)].read_bytes())
                return tensors
        return {}

    def _files(self, run: str) -> dict[int, Path]:
        """Return a run's files by round."""
        found = {}
        for path in self.folder.glob("residual-*.safetensors"):
            with suppress(SafetensorError, OSError, KeyError, ValueError):
                said = metadata_of(path)
                if said["run"] == run:
                    found[int(said["round"])] = path
        return found

    def keep(self, run: str, round_index: int, counted: int, tensors: Tensors) -> None:
        """Note what is left after a round, beside what its own began with.

        Raises
        ------
        RunError
            If the disk refuses.
        """
        if not tensors:
            return
        kept = {f"residual-{at}.safetensors" for at in (round_index, counted)}
        path = self.folder / f"residual-{round_index}.safetensors"
        data = save(tensors, metadata={"run": run, "round": str(round_index)})
        with disk_errors(path, "the round does not count", "free some space"):
            write_atomic(path, data)
            for other in self.folder.glob("residual-*.safetensors"):
                if other.name not in kept:
                    other.unlink(missing_ok=True)
