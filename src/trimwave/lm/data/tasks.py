"""The rows of a run: where they come from, and who sees which.

A source is ``"gsm_symbolic"`` (generated, so it needs no download), a data set of the
Hugging Face hub, or a local file or folder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from trimwave.base.errors import InputError, nearest
from trimwave.base.streams import stream
from trimwave.lm.data.files import READERS, NamedClasses, Record, read_local
from trimwave.lm.data.rows import Row, find_layout

HUB: dict[str, tuple[str, str | None]] = {
    "gsm8k": ("openai/gsm8k", "main"),
    "openai/gsm8k": ("openai/gsm8k", "main"),
    "yahoo_answers_topics": ("community-datasets/yahoo_answers_topics", None),
    "wikitext-2": ("Salesforce/wikitext", "wikitext-2-raw-v1"),
    "alpaca": ("tatsu-lab/alpaca", None),
    "dbpedia-14": ("fancyzhx/dbpedia_14", None),
}
"""Names for data sets of the hub: repository and configuration."""

GSM_SUFFIX = " Give the result as your final answer. Do not include units."
"""What reasoning-gym adds to every question."""

GSM_CHUNK = 10_000
"""Problems asked of one generator seed; changing it changes every draw."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """Rows of one source, each at most once, in an order that the seed decides."""

    train: Iterator[Row]
    """Training rows, or all of them where the source has no test rows of its own."""
    test: Iterator[Row] | None = None
    """Test rows, if the source keeps them apart."""
    revision: str
    """What exactly was read: a commit of the hub, a hash, a package version."""
    endless: bool = False
    """Rows are generated for as long as they are asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """Rows of a run; no row of one part equals a row of another."""

    train: tuple[Row, ...]
    """Private rows, to be dealt out to the clients."""
    test: tuple[Row, ...]
    """Rows that nobody trains on."""
    public: tuple[Row, ...]
    """Rows of the server."""
    num_duplicates: int
    """Rows passed over since they equal one of a part drawn before."""
    data_revision: str
    """`revision` of the source of `train` and `test`."""
    public_revision: str | None
    """`revision` of the source of `public`; None without public rows."""


def load_task(
    data: str,
    public: str | None = None,
    *,
    num_train: int | None = None,
    num_test: int | None = None,
    num_public: int | None = None,
    seed: int,
) -> Splits:
    """Draw the test rows, then the public ones, then the training rows.

    Parameters
    ----------
    data : str
        Source of the training and test rows.
    public : str, optional
        Source of the public rows; ``"same"`` takes them from the training rows of
        `data`, and nobody else gets them.
    num_train, num_test, num_public : int, optional
        How many of each; without it all there are.
    seed : int
        The run's seed.

    Raises
    ------
    InputError
        If a source cannot be read, or has fewer rows than asked for.
    """
    own = load_rows(data, seed=seed)
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
    taker = _Taker()
    tests = own.train if own.test is None else own.test
    test = taker.take(tests, num_test, f"test rows of `{data}`")
    public_rows: tuple[Row, ...] = ()
    if public is not None:
        public_rows = taker.take(server.train, num_public, f"public rows of `{public}`")
    train = taker.take(own.train, num_train, f"training rows of `{data}`")
    return Splits(
        train=train,
        test=test,
        public=public_rows,
        num_duplicates=taker.num_duplicates,
        data_revision=own.revision,
        public_revision=None if public is None else server.revision,
    )


class _Taker:
    """Takes rows part by part, passing over what an earlier part has."""

    def __init__(self) -> None:
        self.num_duplicates = 0
        self._taken: set[tuple[str, str]] = set()

    def take(
        self, rows: Iterator[Row], count: int | None, what: str
    ) -> tuple[Row, ...]:
        if count is not None and count < 0:
            raise InputError(f"cannot draw {count} {what}; ask for 0 or more.")
        part = tuple(islice(self._fresh(rows), count))
        if count is not None and len(part) < count:
            raise InputError(
                f"asked for {count} {what}, only {len(part)} are left; ask for fewer."
            )
        if not part and count != 0:
            raise InputError(f"no {what} are left; lower the other parts.")
        self._taken.update((row.prompt, row.answer) for row in part)
        return part

    def _fresh(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            if (row.prompt, row.answer) in self._taken:
                self.num_duplicates += 1
            else:
                yield row


def load_rows(source: str, *, seed: int) -> Draws:
    """Open a source of rows; those with a blank answer are passed over.

    Parameters
    ----------
    source : str
        ``"gsm_symbolic"``, a name in `HUB`, ``owner/name`` on the hub, or a path.
    seed : int
        Decides the order, and what is generated.

    Raises
    ------
    InputError
        If the source is unknown, cannot be read, or has columns of unknown names.
    """
    if source == "gsm_symbolic":
        package = f"reasoning-gym {version('reasoning-gym')}"
        return Draws(train=_gsm_symbolic(seed), revision=package, endless=True)
    path = Path(source).expanduser()
    if path.exists() or path.suffix.lower() in READERS or source[:1] in ("/", "~", "."):
        train, test, revision = read_local(path)
    elif source in HUB or source.count("/") == 1:
        train, test, revision = _read_hub(*HUB.get(source, (source, None)))
    else:
        hint = nearest(source, ["gsm_symbolic", *HUB])
        raise InputError(
            f"unknown data source `{source}`; name a local file or folder, "
            f"`owner/name` of the hub, or a known name; {hint}"
        )
    rng = stream(seed, "rows")
    test_rows = None if test is None else _laid_out(test, f"{source} (test)", rng)
    train_rows = _laid_out(train, source, rng)
    return Draws(train=train_rows, test=test_rows, revision=revision)


def _laid_out(
    records: Sequence[Record], source: str, rng: np.random.Generator
) -> Iterator[Row]:
    """Make rows of records as they are asked for: Yahoo Answers has 1.4 million."""
    order = rng.permutation(len(records))
    layout = find_layout(records[0], source)

    def rows() -> Iterator[Row]:
        for index in order:
            row = layout.row(records[index], f"row {index} of `{source}`")
            if row.answer.strip():
                yield row

    return rows()


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
                yield Row(f"Question: {question}\nAnswer:", answer)
        chunk += 1


def _read_hub(
    name: str, config: str | None
) -> tuple[Sequence[Record], Sequence[Record] | None, str]:
    """Read a data set of the hub, its train and test splits."""
    import datasets
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        try:
            # Asked first: load_dataset would retry for half a minute.
            revision = HfApi().dataset_info(name, timeout=20).sha
        except OfflineModeIsEnabled:
            revision = None  # then load_dataset reads its cache
        splits: dict[str, Any] = datasets.load_dataset(name, config, revision=revision)
    except Exception as error:
        # The hub raises classes of whichever HTTP library it was built on.
        wanted = f"{name}, configuration {config}" if config else name
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"could not read `{wanted}` from the Hugging Face hub "
            f"({type(error).__name__}: {reason}); check the name and the network, set "
            f"HF_HUB_OFFLINE=1 if it was downloaded before, or name a local file or "
            f"folder instead."
        ) from error
    if "train" not in splits:
        found = ", ".join(splits)
        raise InputError(f"`{name}` of the hub has no split `train`, only: {found}.")
    test = NamedClasses(splits["test"]) if "test" in splits else None
    return NamedClasses(splits["train"]), test, revision or "cached"
