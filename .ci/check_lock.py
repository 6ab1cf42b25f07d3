"""Whether constraints.txt pins every package of this environment, at its version.

``make check`` runs it in ``.venv``, with the extras installed there, as in
``check_lock.py lm,dev``. Exit code 1, and one line per package, where a
package that this project needs here, directly or through others, has no pin, another
version, or is not installed.
"""

import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def pins(text: str) -> dict[str, list[Requirement]]:
    """Return the lines of a constraints file by package, several if markers differ."""
    found: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        if content := line.split("#")[0].strip():
            pin = Requirement(content)
            found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


def direct_requirements(project: Path, extras: Iterable[str]) -> list[Requirement]:
    """Return what pyproject.toml names, with these extras."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    lines = list(table["dependencies"])
    for extra in extras:
        lines += table["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def _installed(name: str) -> tuple[str, list[str]] | None:
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return found.version, found.requires or []


def closure(
    roots: Iterable[Requirement],
    look_up: Callable[[str], tuple[str, list[str]] | None] = _installed,
    environment: Mapping[str, str] | None = None,
) -> dict[str, str | None]:
    """Return every package that the roots need, and its version.

    Parameters
    ----------
    roots : iterable of Requirement
        Where to begin; markers are evaluated.
    look_up : callable, optional
        Version and requirements of a package, None if it is not installed.
    environment : mapping, optional
        Values of markers that differ from this interpreter's.

    Returns
    -------
    dict
        From canonical name to version, None where a package is not installed.
    """
    given = dict(environment or {})
    versions: dict[str, str | None] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(root, "") for root in roots]
    while waiting:
        wanted, asked_extra = waiting.pop()
        marker = wanted.marker
        if marker and not marker.evaluate({**given, "extra": asked_extra}):
            continue
        name = canonicalize_name(wanted.name)
        found = look_up(name)
        versions[name] = found and found[0]
        for extra in {"", *wanted.extras}:
            if found and (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(Requirement(line), extra) for line in found[1]]
    return versions


def faults(
    versions: Mapping[str, str | None],
    pinned: Mapping[str, list[Requirement]],
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Return one line per package that is not what the pins say."""
    lines = []
    given = dict(environment or {})
    for name, version in sorted(versions.items()):
        here = [
            pin
            for pin in pinned.get(name, [])
            if pin.marker is None or pin.marker.evaluate(given)
        ]
        if not here:
            lines.append(f"{name} {version or ''} is missing from constraints.txt")
        elif version is None:
            lines.append(f"{name} is needed and not installed")
        elif not all(pin.specifier.contains(version, prereleases=True) for pin in here):
            wanted = ", ".join(str(pin) for pin in here)
            lines.append(f"{name} {version} is installed, the pin is {wanted}")
    return lines


def main(extras: str) -> int:
    """Check the environment of this interpreter."""
    roots = direct_requirements(ROOT / "pyproject.toml", extras.split(","))
    versions = closure(roots)
    found = faults(versions, pins((ROOT / "constraints.txt").read_text("utf-8")))
    for line in found:
        print(line, file=sys.stderr)
    if found:
        print("make lock, then make install (docs/development.md)", file=sys.stderr)
        return 1
    print(f"{len(versions)} packages, each pinned in constraints.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
