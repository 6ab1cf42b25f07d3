"""Seconds of a round in Flower itself: its simulation engine, and its deployment.

The app is `flower_echo`: it sends each client bytes of its own and gets others back,
and does nothing else. Whatever is started here is ended here.
"""

import json
import subprocess
import time
from pathlib import Path

from trimwave.net.launch import START_S
from trimwave.net.processes import Processes, flower_env, free_port, wait_for_port

APP = Path(__file__).parent / "flower_echo"

LONGEST_S = 300.0

AS_IT_COMES = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "1"}
"""What the product sets otherwise."""


def simulation_s(root, python, clients, **told):
    """Return the seconds of each round in the simulation engine.

    Parameters
    ----------
    root : Path
        An empty folder.
    python : Path
        Of an environment with ``flwr[simulation]``.
    clients : int
        K.
    **told
        Of the app's config: ``rounds``, ``down_bytes``, ``up_bytes``.
    """
    federation = f"num-supernodes={clients} client-resources-num-cpus=1"
    options = ("--federation-config", federation)
    with Processes(root / "logs") as processes:
        env = flower_env(root) | AS_IT_COMES | {"RAY_USAGE_STATS_ENABLED": "0"}
        env["PATH"] = f"{python.parent}:{env['PATH']}"
        env.pop("PYTHONPATH", None)  # the other environment has its own packages
        link = python.parent / "flower-superlink"
        flower = python.parent / "flwr"
        address = _superlink(processes, [str(link), "--simulation"], env, root)
        return _seconds(root, address, env, str(flower), options, clients, told)


def deployment_s(root, clients, **told):
    """Return the seconds of each round with a process for every message."""
    with Processes(root / "logs") as processes:
        env = flower_env(root) | AS_IT_COMES
        address = _superlink(processes, ["flower-superlink"], env, root)
        for k in range(clients):
            argv = ["flower-supernode", "--insecure", "--superlink", address]
            argv += ["--port", str(free_port())]
            home = root / f"client-{k}"
            processes.start(f"client-{k}", argv, flower_env(home) | AS_IT_COMES)
        return _seconds(root, address, env, "flwr", (), clients, told)


def _superlink(processes, argv, env, root):
    """Start a SuperLink and write down where it is; its address."""
    port = free_port()
    argv = [*argv, "--insecure", "--host", "127.0.0.1", "--port", str(port)]
    child = processes.start("superlink", argv, env)
    wait_for_port(child, "127.0.0.1", port, START_S)
    address = f"127.0.0.1:{port}"
    (root / "config.toml").write_text(
        f'[superlink]\ndefault = "run"\n\n[superlink.run]\naddress = "{address}"\n'
        "insecure = true\n"
    )
    return address


def _seconds(root, address, env, flower, options, clients, told):
    """Run the app; the seconds that it wrote down."""
    out = root / "seconds.json"
    config = {**told, "clients": clients}
    text = " ".join(f"{key}={value}" for key, value in config.items())
    text += f' out="{out}"'
    argv = [flower, "run", str(APP), "run", "--run-config", text, *options]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if "Successfully started run" not in done.stdout:
        raise RuntimeError(f"{done.stdout} {done.stderr}")
    ends_s = time.monotonic() + LONGEST_S
    while not out.exists() or not out.read_text():
        if time.monotonic() > ends_s:
            log = (root / "logs" / "superlink.log").read_text()
            raise RuntimeError(f"no end on {address}: {log[-2000:]}")
        time.sleep(0.1)
    return json.loads(out.read_text())
