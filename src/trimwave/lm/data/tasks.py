"""The rows of a run: where they come from, and who sees which.

A source is ``"gsm_symbolic"`` (generated, so it needs no download), a data set of the
Hugging Face hub, or a local file or folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from trimwave.base.errors import InputError, nearest
from trimwave.base.streams import stream
from trimwave.lm.data.draw import Draw, draw_from
from trimwave.lm.data.files import read_local
from trimwave.lm.data.hub import HUB, read_hub
from trimwave.lm.data.parts import (
    DUPLICATE,
    Fits,
    Part,
    Taker,
    UpTo,
    warn_of_parts,
)
from trimwave.lm.data.reading import AS_IS, Reading
from trimwave.lm.data.rows import Row
from trimwave.recipe.row_files import kind_of

GSM_SUFFIX = " Give the result as your final answer. Do not include units."
"""What reasoning-gym adds to every question."""

FEW = UpTo(64, 0.2)
"""Test rows, or public rows, where no number is asked for: 64 or a fifth."""

GSM_CHUNK = 10_000
"""Problems asked of one generator seed; changing it changes every draw."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """Rows of one source, ready to be drawn."""

    train: Draw
    """Training rows, or all of them where the source has no test rows of its own."""
    test: Draw | None = None
    """Test rows, if the source keeps them apart."""
    revision: str
    """What exactly was read: a commit of the hub, a hash, a package version."""

    @property
    def endless(self) -> bool:
        """Rows are generated for as long as they are asked for."""
        return self.train.size is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """Rows of a run; no row of one part equals a row of another."""

    train: tuple[Row, ...]
    """Private rows, to be dealt out to the clients."""
    test: tuple[Row, ...]
    """Rows that nobody trains on."""
    public: tuple[Row, ...]
    """Rows of the server."""
    passed_over: dict[str, dict[str, int]]
    """By part, how many records were passed over while it was drawn, by reason."""
    data_revision: str
    """`revision` of the source of `train` and `test`."""
    public_revision: str | None
    """`revision` of the source of `public`; None without public rows."""
    client_ids: tuple[str, ...] | None = None
    """The clients' names, where the rows say whose they are."""
    shards: tuple[np.ndarray, ...] | None = None
    """Then, which of `train` each client has, [n_k] each."""
    own_test: tuple[tuple[Row, ...], ...] | None = None
    """Test rows of each client's own, where clients have some."""

    @property
    def num_duplicates(self) -> int:
        """Rows passed over since they equal one of a part drawn before."""
        return sum(counts.get(DUPLICATE, 0) for counts in self.passed_over.values())


def load_task(
    data: str,
    public: str | None = None,
    *,
    num_train: int | None = None,
    num_test: int | UpTo | None = None,
    num_public: int | UpTo | None = None,
    seed: int,
    fits: Fits | None = None,
    reading: Reading = AS_IS,
) -> Splits:
    """Draw the test rows, then the public ones, then the training rows.

    Parameters
    ----------
    data : str
        Source of the training and test rows.
    public : str, optional
        Source of the public rows; ``"same"`` takes them from the training rows of
        `data`, and nobody else gets them.
    num_train, num_test, num_public : int or UpTo, optional
        How many of each; without it all there are. What is passed over does not count:
        the source's next rows take its place. The share of `UpTo` is one of training
        rows; of a source that has no other use all may be taken.
    seed : int
        The run's seed.
    fits : callable, optional
        Says of each of some rows whether it may be taken; without it all may.
    reading : Reading
        What is said of `data`.

    Raises
    ------
    InputError
        If a source cannot be read, or has fewer rows than asked for.

    Warns
    -----
    UserWarning
        Once of what was passed over in which part and of what is there twice, once of
        characters that had to be replaced, once per source of columns without a use.
    """
    own = load_rows(data, seed=seed, reading=reading)
    server = own if public in (None, "same", data) else load_rows(public, seed=seed)
    if own.test is None and num_test is None:
        raise InputError(f"`{data}` has no test rows of its own; set `num_test`.")
    if own.endless and num_train is None:
        raise InputError(f"`{data}` is generated without end; set `num_train`.")
    shared = server is own or server.endless
    if public is not None and num_public is None and shared:
        raise InputError(
            f"set `num_public`: `{public}` would give all it has, or more."
        )
    if isinstance(num_test, UpTo) and own.test:
        num_test = UpTo(num_test.most)
    if isinstance(num_public, UpTo) and server is not own:
        num_public = UpTo(num_public.most)
    taker = Taker(fits)
    test = taker.take(own.test or own.train, num_test, "test")
    public_part = Part((), {})
    if public is not None:
        public_part = taker.take(server.train, num_public, "public")
    train = taker.take(own.train, num_train, "train")
    parts = {"train": train, "test": test, "public": public_part}
    draws = [own.train, *([own.test] if own.test else [])]
    warn_of_parts(parts, draws if server is own else [*draws, server.train])
    return Splits(
        train=train.rows,
        test=test.rows,
        public=public_part.rows,
        passed_over={name: part.passed_over for name, part in parts.items()},
        data_revision=own.revision,
        public_revision=None if public is None else server.revision,
    )


def load_rows(source: str, *, seed: int, reading: Reading = AS_IS) -> Draws:
    """Open a source of rows; what is no row (see `Lack`) is passed over and counted.

    Parameters
    ----------
    source : str
        ``"gsm_symbolic"``, a name in `HUB`, ``owner/name`` on the hub, or a path.
    seed : int
        Decides the order, and what is generated.
    reading : Reading
        What is said of it.

    Raises
    ------
    InputError
        If the source is unknown, cannot be read, or has columns of unknown names.

    Warns
    -----
    UserWarning
        Once of the columns that no row is made of.
    """
    if source == "gsm_symbolic":
        package = f"reasoning-gym {version('reasoning-gym')}"
        return Draws(train=Draw(_gsm_symbolic(seed), source, None), revision=package)
    path = Path(source).expanduser()
    if path.exists() or kind_of(path) or source[:1] in ("/", "~", "."):
        train, test, version_read = read_local(path, reading)
    elif source in HUB or source.count("/") == 1:
        train, test, version_read = read_hub(
            source, reading.configuration, reading.revision
        )
    else:
        hint = nearest(source, ["gsm_symbolic", *HUB])
        raise InputError(
            f"unknown data source `{source}`; name a local file or folder, "
            f"`owner/name` of the hub, or a known name; {hint}"
        )
    # The test rows are shuffled first: so they were in every release.
    tables = [] if test is None else [(test, reading.of_tests(test.columns))]
    tables.append((train, reading))
    *tests, trains = draw_from(tables, source, stream(seed, "rows"))
    return Draws(train=trains, test=tests[0] if tests else None, revision=version_read)


def _gsm_symbolic(seed: int) -> Iterator[Row]:
    """Generate school maths problems from 85 templates, GSM-Symbolic, Mirzadeh 2024.

    Problem i of seed s and problem i - 1 of seed s + 1 share their random numbers, so
    the package's seeds are drawn far apart, and questions seen before passed over.
    """
    import reasoning_gym

    seen: set[str] = set()
    chunk, num_seen = 0, -1
    while num_seen < len(seen):
        num_seen = len(seen)
        base = int(stream(seed, "gsm_symbolic", chunk).integers(2**31))
        problems = reasoning_gym.create_dataset(
            "gsm_symbolic", seed=base, size=GSM_CHUNK
        )
        for index in range(GSM_CHUNK):
            problem = problems[index]
            question = problem["question"].removesuffix(GSM_SUFFIX).strip()
            if question not in seen:
                seen.add(question)
                answer = problem["metadata"]["answer_cot"].strip()
                where = f"problem {len(seen)} of `gsm_symbolic`"
                yield Row(f"Question: {question}\nAnswer:", answer, origin=where)
        chunk += 1
