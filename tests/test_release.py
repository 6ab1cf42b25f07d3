import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

ROOT = Path(__file__).parent.parent
HEADING = re.compile(r"^## \[(.+?)\](?: - (\S+))?$", re.MULTILINE)


def released(changelog):
    """Return (version, date) of every released entry, newest first."""
    return [(v, day) for v, day in HEADING.findall(changelog) if v != "Unreleased"]


def disagreements(version, changelog, citation):
    """Return what is wrong with a release, a line each.

    A version under development (``0.4.0.dev0``) is not released: it has to lie above
    the newest entry and to have [Unreleased], and the citation stays with that entry.
    """
    newest, day = released(changelog)[0]
    wrong = []
    if Version(version).is_devrelease:
        if Version(version) <= Version(newest):
            wrong.append(f"{version} is not above the released {newest}")
        if not changelog.partition(f"## [{newest}]")[0].count("## [Unreleased]"):
            wrong.append(f"{version} without [Unreleased] in the CHANGELOG")
    elif version != newest:
        wrong.append(f"pyproject.toml has {version}, the CHANGELOG {newest}")
    cited = yaml.safe_load(citation)
    if str(cited.get("version")) != newest:
        wrong.append(f"CITATION.cff has {cited.get('version')}, the CHANGELOG {newest}")
    if str(cited.get("date-released")) != day:
        wrong.append(
            f"CITATION.cff has {cited.get('date-released')}, the CHANGELOG {day}"
        )
    return wrong


@pytest.fixture(scope="module")
def files():
    """Version, changelog and citation of this checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return (
        project["version"],
        (ROOT / "CHANGELOG.md").read_text("utf-8"),
        (ROOT / "CITATION.cff").read_text("utf-8"),
    )


def test_version_changelog_and_citation_agree(files):
    assert disagreements(*files) == []


def test_changelog_lists_each_release_once_newest_first(files):
    entries = released(files[1])
    versions = [Version(version) for version, _ in entries]
    days = [date.fromisoformat(day) for _, day in entries]
    assert versions == sorted(set(versions), reverse=True)
    assert days == sorted(days, reverse=True)
    headings = HEADING.findall(files[1])
    assert ("Unreleased", "") not in headings[1:]
    # A heading that the pattern does not read would be an entry that nothing checks.
    assert len(headings) == files[1].count("\n## ")


CHANGELOG = "# C\n\n## [Unreleased]\n\n- x\n\n## [1.2.0] - 2026-01-31\n\n- y\n"
CITATION = "version: 1.2.0\ndate-released: 2026-01-31\n"


@pytest.mark.parametrize(
    "version", ["1.2.0", "1.3.0.dev0"], ids=["between releases", "development"]
)
def test_changes_under_unreleased_are_fine(version):
    assert disagreements(version, CHANGELOG, CITATION) == []


def test_a_release_without_unreleased_is_fine():
    changelog = CHANGELOG.replace("## [Unreleased]\n\n- x\n\n", "")
    assert disagreements("1.2.0", changelog, CITATION) == []


@pytest.mark.parametrize(
    ("version", "changelog", "citation", "named"),
    [
        ("1.3.0", CHANGELOG, CITATION, "pyproject.toml has 1.3.0"),
        ("1.1.0.dev0", CHANGELOG, CITATION, "not above"),
        (
            "1.3.0.dev0",
            CHANGELOG.replace("## [Unreleased]", ""),
            CITATION,
            "without [Unreleased]",
        ),
        (
            "1.2.0",
            CHANGELOG,
            CITATION.replace("1.2.0", "1.1.0"),
            "CITATION.cff has 1.1.0",
        ),
        (
            "1.2.0",
            CHANGELOG,
            CITATION.replace("01-31", "01-30"),
            "CITATION.cff has 2026-01-30",
        ),
        ("1.2.0", CHANGELOG, "version: 1.2.0\n", "CITATION.cff has None"),
    ],
)
def test_a_disagreement_is_named(version, changelog, citation, named):
    (line,) = disagreements(version, changelog, citation)
    assert named in line
