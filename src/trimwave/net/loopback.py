"""A run with all of its clients on this machine."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimwave.net.host import FOLDER
from trimwave.net.launch import Server, Superlink, Told, serve
from trimwave.net.links.links import LOOPBACK, Links, Ports, Reach
from trimwave.net.nodes import Fleet, Node
from trimwave.net.order import Order
from trimwave.net.processes import Processes, free_port, scratch_folder
from trimwave.net.settings import Settings


def run_on_loopback(
    folder: Path,
    config: Mapping[str, Any],
    num_clients: int,
    told: Told,
    names: Sequence[str] = (),
    links: Links | None = None,
) -> None:
    """Run with all clients on this machine; everything is taken down at the end.

    Parameters
    ----------
    folder : Path
        The run's.
    config : mapping
        The run's, as plain dict.
    num_clients : int
        K.
    told : callable
        Told of events.
    names : sequence of str, optional
        K ids of the clients, where the recipe has them.
    links : Links, optional
        What lies between server and clients, already there; None = nothing.

    Raises
    ------
    RunError
        If the run ends in an error.
    """
    own = folder.absolute() / FOLDER
    threads = max(1, len(os.sched_getaffinity(0)) // num_clients)
    with scratch_folder() as scratch, Processes(own / "logs") as processes:
        ports = links.ports if links else Ports(control=free_port(), blobs=0)
        host = links.host if links else LOOPBACK
        link = Superlink(host=host, port=ports.control)
        order = Order(
            folder=str(folder.absolute()), config=config, host=host, port=ports.blobs
        )
        nodes = []
        for k in range(num_clients):
            reach = links.reach(k) if links else Reach(host=host, ports=ports)
            settings = Settings(
                name=names[k] if names else str(k),
                cache=own / "clients" / str(k),
                blobs=reach.blobs if links else None,
            )
            node = Node(
                settings=settings,
                label=str(k),
                superlink=reach.control,
                prefix=reach.prefix,
            )
            nodes.append(node)
        fleet = Fleet(processes, nodes, scratch, threads)
        fleet.mend()
        server = Server(processes, link, scratch / "superlink")
        serve(server, order, told, fleet.mend)
    for leftover in ("clients", "blobs"):
        shutil.rmtree(own / leftover, ignore_errors=True)
