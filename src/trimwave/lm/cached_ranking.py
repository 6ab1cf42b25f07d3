"""The ranking of heads and neurons, computed once for the same inputs and kept.

A kept ranking is used only if it is, to the last value, the one that was computed of
these inputs; whatever else lies in its place is computed again, with a word. The cache
only saves time: where it cannot be read or written, a run goes on without.
"""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from trimwave.base.errors import DamagedError
from trimwave.base.streams import stream
from trimwave.lm.data.encode import Encoded, collate
from trimwave.lm.source.fetch import cache_folder
from trimwave.lm.states.frozen import bytes_of, computation_of
from trimwave.lm.surgery.importance import score
from trimwave.lm.surgery.rank import rank_units
from trimwave.lm.surgery.ranking import Ranking
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.train.tune import precision
from trimwave.lm.wire.ledger import tensors_of
from trimwave.recipe.config import Config


def cached_ranking(
    config: Config,
    split: SplitModel,
    public: Sequence[Encoded],
    pad_id: int,
    say: Callable[[str], None],
) -> Ranking:
    """Rank heads and neurons, or find the ranking of the same inputs in the cache.

    Warns
    -----
    UserWarning
        If what is in the cache is damaged, or the cache cannot be read or written.
    """
    prune = config.prune
    rows = public[: prune.num_sequences] if prune.criterion == "fisher" else []
    key = _key(config, split, rows)
    path = cache_folder() / "rankings" / f"{key}.safetensors"
    ranking = _kept(path, key)
    if ranking is None:
        say(f"ranking heads and neurons by {prune.criterion}")
        ranking = _computed(config, split, rows, pad_id)
        _keep(ranking, path, key)
    return ranking


def _kept(path: Path, key: str) -> Ranking | None:
    try:
        return Ranking.load(path, key)
    except FileNotFoundError:
        return None
    except (DamagedError, OSError) as error:
        warnings.warn(f"{error} The ranking is computed again.", stacklevel=3)
        return None


def _keep(ranking: Ranking, path: Path, key: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        ranking.save(path, key)
    except OSError as error:
        warnings.warn(
            f"the ranking is not kept: cannot write to {path.parent} "
            f"({error.strerror}); free some space, or name another folder in "
            f"TRIMWAVE_CACHE, and the next run will not compute it again.",
            stacklevel=3,
        )


def _computed(
    config: Config, split: SplitModel, rows: Sequence[Encoded], pad_id: int
) -> Ranking:
    prune = config.prune
    device = next(split.emulator.parameters()).device
    starts = range(0, len(rows), prune.batch_size)
    batches = (collate(rows[i : i + prune.batch_size], pad_id) for i in starts)
    with precision(config.train, device):
        scores = score(
            split,
            prune.criterion,
            ((b.input_ids.to(device), b.labels.to(device)) for b in batches),
            stream(config.seed, "random ranking"),
        )
    return rank_units(
        scores,
        split.shape,
        round_to=prune.round_to,
        min_groups=prune.min_groups,
        min_neurons=prune.min_neurons,
    )


def _key(config: Config, split: SplitModel, rows: Sequence[Encoded]) -> str:
    """Digest of everything a ranking depends on."""
    # With precision "auto" a device of another kind computes in other numbers.
    kind = next(split.emulator.parameters()).device.type
    inputs = (config.prune, config.train.precision, kind, split.split_index)
    digest = hashlib.sha256(repr(inputs).encode())
    digest.update(computation_of(split.shell.config).encode())
    if config.prune.criterion == "random":
        digest.update(str(config.seed).encode())
    for name, value in tensors_of(split).items():
        digest.update(name.encode())
        digest.update(bytes_of(value))
    for row in rows:
        digest.update(f"{len(row.input_ids)} {row.answer_start} ".encode())
        digest.update(row.input_ids.numpy().tobytes())
        if row.answers:
            digest.update(repr(row.answers).encode())
    return digest.hexdigest()
