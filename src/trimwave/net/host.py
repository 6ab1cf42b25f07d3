"""The server's process: a run over a network, from an order to its end.

Called by the ServerApp with the post of its grid; `runs.rounds` does the rest.
"""

import tempfile
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save

from trimwave.base.errors import InputError, RunError, one_line
from trimwave.base.stored import write_atomic
from trimwave.decision.plan import Plan, Scheme
from trimwave.lm.kit import Kit, shell_tensors
from trimwave.lm.server import LmServer
from trimwave.lm.session import check_runs, run_method
from trimwave.lm.workbench import Workbench, build_workbench
from trimwave.net.backend import NetBackend
from trimwave.net.blobs.route import BlobServer
from trimwave.net.blobs.store import BlobStore
from trimwave.net.joined import files_to_join
from trimwave.net.members import Member, Seats
from trimwave.net.order import Events, Order
from trimwave.net.parcels import Packer
from trimwave.net.post import Post
from trimwave.net.roll import Address, Roll
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.recipe import config_from_dict
from trimwave.runs.counted import last_counted
from trimwave.runs.holdings import quota_params
from trimwave.runs.records import Run

FOLDER = "net"
"""In a run's folder: what a network run needs beside records and checkpoints."""


def host(order: Order, post: Post) -> None:
    """Serve a run to its end, and tell how it ended."""
    events = Events(order.events)
    warnings.showwarning = lambda message, *_, **__: events.tell("warn", str(message))
    try:
        _host(order, post, events)
    except InputError as error:
        events.tell("end", {"error": str(error)})
    except Exception as error:
        import traceback

        told = f"{type(error).__name__}: {one_line(error)}"
        events.tell("end", {"error": told, "fault": traceback.format_exc()})
    else:
        events.tell("end", {})


def _host(order: Order, post: Post, events: Events) -> None:
    config = config_from_dict(order.config, order.folder)
    folder = Path(order.folder)
    refuse_unbuilt(config)
    bench = build_workbench(config, lambda line: events.tell("say", line))
    check_runs(bench, [config])
    run_method(
        bench,
        config,
        folder,
        resume=(folder / "manifest.json").exists(),
        on_record=lambda record: events.tell("record", record),
        backend="flower",
        backend_of=partial(opened, order, post, events),
        lock=folder / FOLDER,
    )


def refuse_unbuilt(config: Config) -> None:
    """Refuse a method that is not built over a network.

    Raises
    ------
    InputError
        If its blocks run at the server.
    """
    if config.method.partition(":")[0] == "split_lora":
        raise InputError(
            "method `split_lora` runs the blocks at the server, activations crossing "
            "the link in every step; over a network that is not built: `--backend "
            "local` simulates it."
        )


@contextmanager
def opened(
    order: Order,
    post: Post,
    events: Events,
    server: LmServer,
    bench: Workbench,
) -> Iterator[NetBackend]:
    """Open the file route, call the roll, and close both at the end."""
    config, own = bench.config, Path(order.folder) / FOLDER
    own.mkdir(parents=True, exist_ok=True)
    store = BlobStore(own / "blobs", config.net.mirror or None)
    tls = (order.certificate, order.key) if order.certificate else None
    with BlobServer(store.folder, host=order.host, port=order.port, tls=tls) as route:
        join = _join_letter(bench, server.schemes, store)
        roll = Roll(
            run=_run_id(own / "run"),
            post=post,
            seats=Seats(
                own / "clients.json",
                config.cell.num_clients,
                Environment.from_config(config).facts.get("client_ids"),
            ),
            join=join,
            where=Address(
                route=order.route or f"{route.url}/blobs",
                urls=[config.net.mirror_url or config.net.mirror]
                if config.net.mirror
                else [],
                grant=route.grant,
            ),
            net=config.net,
            dealt=server.num_samples,
            keyed=order.keyed,
            say=lambda line: events.tell("say", line),
            counted=_counted(Path(order.folder)),
        )

        def on_plan(plan: Plan, members: Mapping[int, Member]) -> None:
            rates = {k: rates_of(plan, k) for k in members if plan.scheduled[k]}
            events.tell("plan", {str(k): rate for k, rate in rates.items()})
            for k, member in members.items():
                down_bps = rates[k]["down_bps"] if k in rates else None
                route.set_pace(str(member.node), down_bps if config.net.pace else None)

        roll.start()
        roll.gather()
        quota = quota_params(server.costs, config.cell.cache_bytes)
        packer = Packer(
            split=bench.split,
            ranking=bench.ranking,
            bits_per_param=config.model.bits_per_param,
            store=store,
            quota_params=quota,
            notes=own / "kept.json",
            joins={digest for digest, _ in files_to_join(join)},
        )
        yield NetBackend(
            server,
            roll,
            packer,
            config,
            on_plan,
            lambda *client: events.tell("client", client),
        )
        roll.close()


def rates_of(plan: Plan, client: int) -> dict[str, float]:
    """Return what a plan gives a client in either direction [bit/s]."""
    rates = {}
    for name in ("down", "up"):
        bits = float(getattr(plan, f"{name}_bits")[client])
        taken_s = float(getattr(plan, f"{name}_s")[client])
        rates[f"{name}_bps"] = bits / taken_s if taken_s > 0 else float("inf")
    return rates


def _run_id(path: Path) -> str:
    """Return what this run is called in letters, the same after a restart."""
    if not path.exists():
        write_atomic(path, uuid.uuid4().hex.encode())
    return path.read_text()


def _counted(folder: Path) -> dict[int, int]:
    """Return the last round in which an update of each client counted."""
    try:
        last = last_counted(Run.open(folder).records())
    except RunError:  # there are none, or the run is about to say what is wrong
        return {}
    return {k: record["round"] for k, record in last.items()}


def _join_letter(
    bench: Workbench, schemes: Sequence[Scheme], store: BlobStore
) -> dict[str, Any]:
    """Return what a device joins by; the shell and the tokenizer go as blobs."""
    shell = store.put(save(shell_tensors(bench.split)))
    with tempfile.TemporaryDirectory() as name:
        bench.tokenizer.save_pretrained(name)
        files = [
            [file.name, *_blob(store, file.read_bytes())]
            for file in sorted(Path(name).iterdir())
            if file.is_file()
        ]
    return {
        "kits": [
            Kit.of(bench, scheme, stage).to_dict()
            for stage, scheme in enumerate(schemes)
        ],
        "shell": [shell.digest, shell.num_bytes],
        "tokenizer": files,
    }


def _blob(store: BlobStore, data: bytes) -> tuple[str, int]:
    blob = store.put(data)
    return blob.digest, blob.num_bytes
