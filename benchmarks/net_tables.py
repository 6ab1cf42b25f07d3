"""What the tables of `network.py` share: a run to its end, rows, losses."""

import time


def changes(*items):
    """Return them as options of the command line."""
    return [part for item in items for part in ("--set", item)]


def ended(run, *arguments):
    """Run `trimwave` to its end in the run's folder; the seconds of it."""
    started = time.monotonic()
    process = run.start(*arguments, "--out", str(run.folder))
    if process.wait():
        raise RuntimeError(run.log.read_text()[-2000:])
    return time.monotonic() - started


def show(*cells):
    """Print a row of a table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def heads(*names, words=1):
    """Print the heads of a table, the first of which are words."""
    show(*names)
    print("|---" * words + "|---:" * (len(names) - words) + "|", flush=True)


def losses(value, name=""):
    """Return every loss of a record by its place in it."""
    if isinstance(value, dict):
        items = [(f"{name}.{key}", one) for key, one in value.items() if "loss" in key]
    elif isinstance(value, list):
        items = [(f"{name}.{place}", one) for place, one in enumerate(value)]
    else:
        return {} if value is None else {name: value}
    found = {}
    for key, one in items:
        found |= losses(one, key)
    return found


def losses_at(record):
    """Return the losses of a record by round and place."""
    return losses(record, str(record["round"]))


def round_parts(timing):
    """Return the seconds of a round by what they went to."""
    clients = timing["clients"].values()
    asked_s = min(one["asked_at_s"] for one in clients)
    answered_s = max(one["answered_at_s"] for one in clients)
    work_s = max(one["fetch_s"] + one["load_s"] + one["train_s"] for one in clients)
    exchange_s = answered_s - asked_s
    return {
        "engine": exchange_s - work_s,
        "work": work_s,
        "server": timing["wall_s"] - exchange_s,
    }
