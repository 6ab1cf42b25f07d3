"""Which rows each client holds, by size or label, and which of them a step takes."""

from collections.abc import Sequence

import numpy as np

from trimwave.base.errors import InputError, nearest
from trimwave.base.streams import stream

SCHEMES = ("iid", "dirichlet")


def partition(
    labels_or_count: Sequence[object] | int,
    num_clients: int,
    *,
    scheme: str = "iid",
    alpha: float | None = None,
    rng: np.random.Generator,
    sizes: Sequence[int] | None = None,
) -> tuple[np.ndarray, ...]:
    """Deal the rows out to the clients, each row at most once.

    Parameters
    ----------
    labels_or_count : sequence or int
        One label per row, or only how many rows there are.
    num_clients : int
        Clients K.
    scheme : str
        ``"iid"``, or ``"dirichlet"``: each client has its own mix of labels.
    alpha : float, optional
        Concentration of the Dirichlet; the smaller, the more skewed. Only for
        ``"dirichlet"``.
    rng : numpy.random.Generator
        Source of the draw.
    sizes : [K], optional
        Rows of each client. Without it all rows are dealt, equally to within one.

    Returns
    -------
    tuple of [n_k]
        Each client's row indices, in random order.

    Raises
    ------
    InputError
        If a client would be empty, there are too few rows for `sizes`, or the scheme
        lacks what it needs.
    """
    if scheme not in SCHEMES:
        raise InputError(f"unknown scheme `{scheme}`; {nearest(scheme, SCHEMES)}")
    count = labels_or_count
    num_rows = count if isinstance(count, int) else len(count)
    shares = client_sizes(num_rows, num_clients, sizes)
    if scheme == "iid":
        if alpha is not None:
            raise InputError(
                f"`alpha` has no effect under `iid`, got {alpha}; leave it out, or set "
                f"`scheme` to `dirichlet`."
            )
        cuts = np.cumsum(shares)
        return tuple(np.split(rng.permutation(num_rows)[: cuts[-1]], cuts[:-1]))
    if alpha is None or not 0 < alpha < np.inf:
        raise InputError(
            f"`alpha` must be positive and finite for `dirichlet`, got {alpha}; "
            f"try 0.5."
        )
    return _dirichlet(_label_codes(labels_or_count), shares, alpha, rng)


def client_sizes(
    num_rows: int, num_clients: int, sizes: Sequence[int] | None = None
) -> np.ndarray:
    """Return how many rows each client is dealt, [K], under either scheme.

    Raises
    ------
    InputError
        As `partition`.
    """
    if num_clients < 1:
        raise InputError(f"`num_clients` must be at least 1, got {num_clients}.")
    if sizes is None:
        if num_rows < num_clients:
            raise InputError(
                f"client {num_rows} would be empty: {num_rows} rows for {num_clients} "
                f"clients; ask for fewer clients or give more rows."
            )
        shares = np.full(num_clients, num_rows // num_clients)
        shares[: num_rows % num_clients] += 1
        return shares
    if len(sizes) != num_clients:
        raise InputError(
            f"`sizes` must have one entry per client, got {len(sizes)} for "
            f"{num_clients} clients."
        )
    for client, size in enumerate(sizes):
        if size < 1:
            raise InputError(
                f"client {client} would be empty: `sizes` gives it {size} rows; give "
                f"it at least 1, or ask for fewer clients."
            )
    if sum(sizes) > num_rows:
        raise InputError(
            f"`sizes` asks for {sum(sizes)} rows, there are {num_rows}; lower `sizes` "
            f"or give more rows."
        )
    return np.asarray(sizes)


def _label_codes(labels: Sequence[object] | int) -> np.ndarray:
    """Return an integer per row, the same for the same label [n]."""
    if isinstance(labels, int) or all(label is None for label in labels):
        raise InputError(
            "`dirichlet` needs a label for every row, and these rows have none; use "
            "`iid`, or a classification data set."
        )
    bare = [row for row, label in enumerate(labels) if label is None]
    if bare:
        raise InputError(
            f"`dirichlet` needs a label for every row, and {len(bare)} of "
            f"{len(labels)} have none, row {bare[0]} the first; leave them out, or use "
            f"`iid`."
        )
    codes: dict[object, int] = {}
    return np.array([codes.setdefault(label, len(codes)) for label in labels])


def _dirichlet(
    codes: np.ndarray, shares: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Give client k a label mix q_k ~ Dir(alpha p), p the overall mix, Hsu et al. 2019.

    Notes
    -----
    Rows are not replaced, so a client served late may find a label used up and get
    the others instead. The order of service is random, to favour no client number.
    """
    num_labels = int(codes.max()) + 1
    left = [rng.permutation(np.flatnonzero(codes == c)) for c in range(num_labels)]
    prior = np.bincount(codes) / len(codes)
    owned: list[np.ndarray] = [np.empty(0, dtype=int)] * len(shares)
    for client in rng.permutation(len(shares)):
        mix = rng.dirichlet(alpha * prior)
        stock = np.array([len(rows) for rows in left])
        taken = _draw_counts(mix, int(shares[client]), stock, rng)
        picked = [rows[:n] for rows, n in zip(left, taken, strict=True)]
        left = [rows[n:] for rows, n in zip(left, taken, strict=True)]
        owned[client] = rng.permutation(np.concatenate(picked))
    return tuple(owned)


def _draw_counts(
    mix: np.ndarray, size: int, stock: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw how many rows of each label a client gets, never more than the stock."""
    taken = np.zeros_like(stock)
    while (missing := size - int(taken.sum())) > 0:
        # Every pass fills the client or uses up a label, so this ends.
        open_mix = np.where(taken < stock, mix, 0.0)
        if open_mix.sum() <= 1e-12:
            open_mix = (stock - taken).astype(float)
        wanted = rng.multinomial(missing, open_mix / open_mix.sum())
        taken = np.minimum(taken + wanted, stock)
    return taken


def batch_indices(
    seed: int, client: int, step: int, batch_size: int, num_rows: int
) -> np.ndarray:
    """Return the rows of one local step, without replacement within an epoch.

    Parameters
    ----------
    seed : int
        The run's seed.
    client : int
        Whose rows.
    step : int
        Local steps the client has done in the run before this one.
    batch_size : int
        Rows of a step, N; a batch may reach over the end of an epoch.
    num_rows : int
        Rows the client has.

    Returns
    -------
    [N]
        Row numbers. They depend on the arguments alone, so every method sees the same
        batches and a run resumes at any step.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(positions, num_rows)
    rows = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = stream(seed, "batches", client, int(epoch)).permutation(num_rows)
        here = epochs == epoch
        rows[here] = order[offsets[here]]
    return rows
