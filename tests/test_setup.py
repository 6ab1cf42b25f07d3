import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PINS_TEXT = (ROOT / "constraints.txt").read_text("utf-8")
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
MATRIX = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]
MACHINES = {"ubuntu-latest": "x86_64", "ubuntu-24.04-arm": "aarch64"}
PLATFORMS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": MACHINES[system],
        "platform_system": "Linux",
        "sys_platform": "linux",
    }
    for system in MATRIX["os"]
    for python in MATRIX["python"]
]
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def load_check_lock():
    """Import .ci/check_lock.py, which is in no package."""
    spec = importlib.util.spec_from_file_location(
        "check_lock", ROOT / ".ci/check_lock.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_lock = load_check_lock()


def name_of_platform(platform):
    return f"{platform['platform_machine']}-{platform['python_version']}"


# ---------------------------------------------------------------- constraints.txt


@pytest.mark.parametrize("platform", PLATFORMS, ids=name_of_platform)
def test_one_pin_per_package_and_platform(platform):
    for name, pins in check_lock.pins(PINS_TEXT).items():
        here = [p for p in pins if p.marker is None or p.marker.evaluate(platform)]
        assert len(here) <= 1, name


@pytest.mark.parametrize("platform", PLATFORMS, ids=name_of_platform)
def test_every_direct_requirement_is_pinned_within_its_range(platform):
    pinned = check_lock.pins(PINS_TEXT)
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [
        *check_lock.direct_requirements(ROOT / "pyproject.toml", extras),
        *map(Requirement, PROJECT["build-system"]["requires"]),
    ]
    for requirement in wanted:
        if requirement.marker and not requirement.marker.evaluate(platform):
            continue
        name = check_lock.canonicalize_name(requirement.name)
        versions = [
            next(iter(pin.specifier)).version
            for pin in pinned.get(name, [])
            if pin.marker is None or pin.marker.evaluate(platform)
        ]
        assert len(versions) == 1, name
        assert requirement.specifier.contains(versions[0]), name


def test_constraints_hold_pins_and_nothing_of_the_machine_that_made_them():
    for line in PINS_TEXT.splitlines():
        if not line.startswith("#"):
            assert re.match(r"[a-z0-9-]+==[a-z0-9.]+(?= ;|  #)", line), line
    assert not re.search(r"(^|\s)/|://|--", PINS_TEXT)


def test_what_is_held_back_is_pinned_so():
    pinned = check_lock.pins(PINS_TEXT)
    for name, (held,) in check_lock.pins((ROOT / "constraints.in").read_text()).items():
        for pin in pinned[name]:
            assert held.specifier in ("", pin.specifier)


# ------------------------------------------------------------ .ci/check_lock.py

INSTALLED = {
    "app": ("1.0", ["lib[fast]>=2", "old; python_version < '3'", "x; extra == 'no'"]),
    "lib": ("2.1+cpu", ["deep-er", "quick; extra == 'fast'", "slow; extra == 'slow'"]),
    "deep-er": ("3.0", ["App"]),
    "quick": ("4.0", ["arm; platform_machine == 'aarch64'"]),
    "arm": ("5.0", []),
}
GOOD = "app==1.0\nlib==2.1  # via app\ndeep_er==3.0\nquick==4.0\n"
X86 = {"platform_machine": "x86_64"}
ARM = {"platform_machine": "aarch64"}


def needed(environment=X86, installed=INSTALLED):
    roots = [Requirement("app")]
    return check_lock.closure(roots, installed.get, environment)


def test_the_closure_follows_extras_and_markers():
    # A cycle ends; a local version is the pinned one; names are compared as PyPI does.
    assert set(needed()) == {"app", "lib", "deep-er", "quick"}
    assert set(needed(ARM)) == {"app", "lib", "deep-er", "quick", "arm"}
    assert check_lock.faults(needed(), check_lock.pins(GOOD), X86) == []


@pytest.mark.parametrize(
    ("pins", "environment", "named"),
    [
        (GOOD.replace("quick==4.0\n", ""), X86, "quick 4.0 is missing"),
        (GOOD, ARM, "arm 5.0 is missing"),
        (GOOD + "arm==5.0 ; platform_machine == 'x86_64'\n", ARM, "arm 5.0 is missing"),
        (GOOD.replace("3.0", "3.0.1"), X86, "deep-er 3.0 is installed, the pin is"),
        (
            GOOD.replace("quick==4.0", "quick==4.0 ; platform_machine != 'x86_64'")
            + "quick==4.1 ; platform_machine == 'x86_64'\n",
            X86,
            "quick 4.0 is installed, the pin is quick==4.1",
        ),
    ],
    ids=["transitive", "other platform", "marker", "version", "version by marker"],
)
def test_a_missing_or_moved_pin_is_named(pins, environment, named):
    (line,) = check_lock.faults(needed(environment), check_lock.pins(pins), environment)
    assert named in line


def test_a_package_that_is_needed_and_not_installed_is_named():
    rest = {name: what for name, what in INSTALLED.items() if name != "quick"}
    found = check_lock.faults(needed(installed=rest), check_lock.pins(GOOD), X86)
    assert found == ["quick is needed and not installed"]


def test_the_check_fails_as_make_check_calls_it(tmp_path):
    # This environment need not be .venv, so its pins are written here.
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/check_lock.py", tmp_path / ".ci")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    roots = check_lock.direct_requirements(ROOT / "pyproject.toml", ["dev"])
    versions = check_lock.closure(roots)
    if None in versions.values():
        pytest.skip("the dev extra is not installed")
    lines = [f"{name}=={version}" for name, version in versions.items()]

    def check(pinned):
        (tmp_path / "constraints.txt").write_text("\n".join(pinned))
        return subprocess.run(
            [sys.executable, tmp_path / ".ci/check_lock.py", "dev"],
            cwd="/",
            capture_output=True,
            text=True,
        )

    assert check(lines).returncode == 0
    transitive = next(line for line in lines if line.startswith("pluggy=="))
    broken = check([line for line in lines if line != transitive])
    assert broken.returncode == 1
    assert "pluggy" in broken.stderr and "make lock" in broken.stderr


@pytest.mark.network
def test_make_lock_comes_back_with_what_is_committed(tmp_path):
    files = ("Makefile", "pyproject.toml", "constraints.in", "constraints.txt")
    for file in files:
        shutil.copy(ROOT / file, tmp_path)
    subprocess.run(
        ["make", "lock", f"PYTHON={sys.executable}"], cwd=tmp_path, check=True
    )
    assert (tmp_path / "constraints.txt").read_text("utf-8") == PINS_TEXT


# ------------------------------------------------------------- Makefile, workflow


def test_make_installs_every_tested_extra_under_the_pins():
    (listed,) = re.findall(r"^EXTRAS := (.*)$", MAKEFILE, re.MULTILINE)
    assert set(listed.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    for line in re.findall(r"^\t.*pip install.*$", MAKEFILE, re.MULTILINE):
        assert "$(PINNED)" in line or re.search(r" \S+==\S+$", line), line


def test_every_target_has_its_line_of_help():
    shown = subprocess.run(
        ["make", "-C", ROOT, "--no-print-directory", "help"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "COLUMNS": "20"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.split()[0] for line in shown.stdout.splitlines()} == TARGETS


def make_targets(workflow):
    """Return the targets that a workflow's steps make; a step may run nothing else."""
    commands = [
        command
        for job in workflow["jobs"].values()
        for step in job["steps"]
        for command in step.get("run", "").splitlines()
    ]
    assert all(re.fullmatch(r"make( [a-z-]+)+", command) for command in commands)
    return {target for command in commands for target in command.split()[1:]}


def test_the_workflow_calls_what_the_makefile_has():
    for file in (ROOT / ".github/workflows").glob("*.yml"):
        assert make_targets(yaml.safe_load(file.read_text("utf-8"))) <= TARGETS
    assert {"check", "test"} <= make_targets(WORKFLOW)


def test_the_workflow_covers_the_lock_and_the_classifiers():
    settings = PROJECT["tool"]["uv"]
    for platform in PLATFORMS:
        for environments in settings["environments"], settings["required-environments"]:
            assert any(Marker(text).evaluate(platform) for text in environments)
    required = settings["required-environments"]
    assert len({p["platform_machine"] for p in PLATFORMS}) == len(required)
    classified = [
        text.rpartition(" ")[2]
        for text in PROJECT["project"]["classifiers"]
        if re.search(r":: 3\.\d+$", text)
    ]
    assert MATRIX["python"] == classified
    (lowest,) = re.findall(r"--python-version (\S+)", MAKEFILE)
    assert PROJECT["project"]["requires-python"] == f">={lowest}"
    assert classified[0] == lowest
    # The lock goes no further than what is tested.
    after = f"3.{int(classified[-1].split('.')[1]) + 1}"
    beyond = {**PLATFORMS[0], "python_version": after}
    assert not any(Marker(text).evaluate(beyond) for text in settings["environments"])


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_forms_ask_for_what_a_reader_needs(name):
    file = ROOT / f".github/ISSUE_TEMPLATE/{name}.yml"
    form = yaml.safe_load(file.read_text("utf-8"))
    assert form["name"] and form["description"]
    fields = [field["id"] for field in form["body"]]
    assert len(set(fields)) == len(fields)
    text = str(form)
    for asked in ("command", "recipe", "manifest.json"):
        assert asked in text.lower()


def test_nothing_of_the_package_is_ignored_by_git():
    """A folder that .gitignore names is missing from clones and from the wheel."""
    files = [str(path) for path in (ROOT / "src").rglob("*.py")]
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    done = subprocess.run(
        ["git", "-C", str(ROOT), "check-ignore", "--no-index", *files],
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""
