"""Facts of the machine, the packages and the checkout, for manifests and benchmarks."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def hardware_and_versions(packages: tuple[str, ...]) -> dict[str, Any]:
    """Facts of this machine and its packages, for the manifest."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "hardware": {
            "machine": platform.machine(),
            "system": platform.platform(),
            "cpus": os.cpu_count(),
        },
        "git": _git_revision(),
    }


def _git_revision() -> str | None:
    """Revision of the checkout this package runs from, None when installed."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
