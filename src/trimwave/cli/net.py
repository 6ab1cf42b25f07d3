"""Commands of a run over a network: `trimwave serve`, `emulate`, `join`, `profile`."""

import socket
from pathlib import Path
from typing import Annotated

import typer

from trimwave.base.errors import InputError, MissingExtraError, nearest
from trimwave.cli.options import (
    METHOD_HELP,
    Data,
    Model,
    Out,
    Overrides,
    Recipe,
    Resume,
    Rounds,
    Seed,
)
from trimwave.cli.train import begin
from trimwave.net import BLOB_PORT, PORT
from trimwave.report.console import plain_console

SLOWDOWN = 50.0

EMULATED = {"cell.slowdown": SLOWDOWN, "net.pace": False, "net.pace_devices": True}
"""What an emulation has where nobody says otherwise; its links need no other pace."""

Insecure = Annotated[
    bool, typer.Option("--insecure", help="No TLS and no keys beyond this machine.")
]


def serve(
    recipe: Recipe = "default",
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 = all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port for Flower.")] = PORT,
    blob_port: Annotated[int, typer.Option(help="Port for blobs.")] = BLOB_PORT,
    keys: Annotated[
        Path | None, typer.Option(help="Folder that `trimwave keys` made.")
    ] = None,
    insecure: Insecure = False,
    set_: Overrides = None,
    method: Annotated[str | None, typer.Option(help=METHOD_HELP)] = None,
    model: Model = None,
    data: Data = None,
    rounds: Rounds = None,
    seed: Seed = None,
    resume: Resume = None,
    out: Out = None,
) -> None:
    """Serve a run to devices that join from other machines."""
    from trimwave.api.over_network import served
    from trimwave.cli import arguments

    try:
        from trimwave.net.serving import Listening
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm,flower", str(missing.name)) from missing

    named = {"method": method, "model.name": model, "data.source": data}
    changes = arguments.overrides(set_, {**named, "rounds": rounds, "seed": seed})
    where = Listening.checked(host, port, blob_port, keys, insecure)
    begin(recipe, changes, resume, out, "flower", served(where))


def emulate(
    recipe: Recipe = "default",
    slowdown: Annotated[
        float | None,
        typer.Option(
            help="How many times slower links and devices are than the recipe's, so "
            f"that this machine can carry them; default {SLOWDOWN:g}."
        ),
    ] = None,
    shaper: Annotated[
        str,
        typer.Option(
            help="`kernel`: namespaces and tc, needs root; `relay`: needs nothing; "
            "`auto`: the kernel where it may."
        ),
    ] = "auto",
    set_: Overrides = None,
    method: Annotated[str | None, typer.Option(help=METHOD_HELP)] = None,
    model: Model = None,
    data: Data = None,
    rounds: Rounds = None,
    seed: Seed = None,
    resume: Resume = None,
    out: Out = None,
) -> None:
    """Run over links shaped to the plan; compare its seconds with the clock's."""
    from trimwave.api.over_network import SHAPERS, emulated
    from trimwave.cli import arguments

    if shaper not in SHAPERS:
        raise InputError(f"no shaper `{shaper}`; {nearest(shaper, SHAPERS)}")
    named = {"method": method, "model.name": model, "data.source": data}
    more = {"cell.slowdown": slowdown, "rounds": rounds, "seed": seed}
    changes = arguments.overrides(set_, {**named, **more})
    if resume is None:
        changes = arguments.with_defaults(recipe, changes, EMULATED)
    begin(recipe, changes, resume, out, "flower", emulated(shaper))


def join(
    server: Annotated[str, typer.Argument(help="The server, HOST or HOST:PORT.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="This device's rows, a file or a folder; default those that the "
            "recipe deals to it."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What the server calls it; default the key's name or HOST."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Private key that `trimwave keys client` made.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="Certificate to check the server by, ca.pem.")
    ] = None,
    insecure: Insecure = False,
    cache: Annotated[
        Path, typer.Option(help="Folder for what the device keeps.")
    ] = Path("trimwave-device"),
    quota_bytes: Annotated[
        float | None, typer.Option(help="Most that it keeps there, such as 2e9.")
    ] = None,
) -> None:
    """Be a device of a run: fetch, train on rows that stay here, answer."""
    try:
        from trimwave.net.serving import join_run, require_security
        from trimwave.net.settings import Settings
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm,flower", str(missing.name)) from missing
    from trimwave.runs.folder import locked

    host, port = _address(server)
    secure = ca is not None
    require_security(host, secure, insecure, "name the server's certificate by --ca")
    if secure and insecure:
        raise InputError("--ca is for TLS; drop it, or drop --insecure.")
    for option, file in (("--ca", ca), ("--key", key)):
        if file is not None and not file.is_file():
            raise InputError(f"{option} {file}: there is no such file.")
    if key is not None and not secure:
        raise InputError("--key needs TLS; name the server's certificate by --ca.")
    if data is not None and not Path(data).expanduser().exists():
        raise InputError(f"--data {data}: there is no such file or folder.")
    if quota_bytes is not None and not 0 <= quota_bytes < float("inf"):
        raise InputError(f"--quota-bytes must be at least 0, got {quota_bytes:g}.")
    console = plain_console()
    settings = Settings(
        name=name or (key.name if key else socket.gethostname()),
        cache=cache.absolute(),
        data=str(Path(data).expanduser().absolute()) if data else None,
        host=host,
        ca=str(ca.absolute()) if ca else None,
        quota_bytes=None if quota_bytes is None else int(quota_bytes),
    )
    with locked(cache):
        join_run(
            f"{host}:{port}",
            settings,
            key.absolute() if key else None,
            lambda line: console.print(line, soft_wrap=True),
        )


def profile(
    recipe: Recipe = "default",
    set_: Overrides = None,
    method: Annotated[str | None, typer.Option(help=METHOD_HELP)] = None,
    model: Model = None,
) -> None:
    """Measure what this device can do in a run: training speed, free memory."""
    from trimwave.cli import arguments

    changes = arguments.overrides(set_, {"method": method, "model.name": model})
    config = arguments.load(recipe, changes)
    console = plain_console()
    try:
        from trimwave.net.profile import profile_here
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm", str(missing.name)) from missing
    with console.status("measuring"):
        found = profile_here(config)
    speed, memory = found["speed_flops_per_s"], found["memory_bytes"]
    console.print(
        f"training {speed / 1e9:.2f} GFLOP/s, free memory {memory / 1e9:.2f} GB "
        f"({config.model.name}, {config.train.batch_size} x {config.train.seq_len} "
        "tokens a step)"
    )
    console.print("a line for the table of clients (cell.clients):")
    print("client_id,speed_flops_per_s,memory_bytes")
    print(f"{socket.gethostname()},{speed:.4g},{memory:.4g}")


def _address(server: str) -> tuple[str, int]:
    """Split HOST:PORT, [IPv6]:PORT or HOST.

    Raises
    ------
    InputError
        If it is none of these.
    """
    host, _, port = server.rpartition(":")
    if not host or (host.count(":") and not host.startswith("[")):
        host, port = server, str(PORT)
    if not (port.isdecimal() and 0 < int(port) < 1 << 16) or "/" in host:
        raise InputError(f"the server is HOST or HOST:PORT, got {server!r}.")
    return host, int(port)
