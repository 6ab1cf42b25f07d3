"""Links, files and maps of README and docs are those of this checkout."""

import re

import pytest
from import_graph import ORDER, SOURCE
from pages import ALL_BLOCKS, PAGES, ROOT, anchors_of, name_of, prose_of

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MARKDOWN = [*PAGES, ROOT / "CHANGELOG.md", *(ROOT / ".github").rglob("*.md")]
DATED = "docs/log.md"
"""Its file names are those of their day."""

PATH = re.compile(
    r"(?<![\w/.-])((?:docs|recipes|examples|benchmarks|tests|src|\.ci|\.github)"
    r"/[\w./-]*\w/?)(?![\w<*/])"
)


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_links_lead_somewhere(page):
    for target in LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://")
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors_of(file), target


@pytest.mark.parametrize(
    "page", [page for page in PAGES if name_of(page) != DATED], ids=name_of
)
def test_files_that_are_named_exist(page):
    text = page.read_text("utf-8")
    for path in PATH.findall(text):
        assert (ROOT / path).exists(), path
    known = [
        f"/{path.relative_to(ROOT).as_posix()}"
        for folder in ("src", "tests", "benchmarks", "examples", ".ci")
        for path in (ROOT / folder).rglob("*.py")
    ]
    for name in re.findall(r"`([\w./]+\.py)`", prose_of(page)):
        assert any(path.endswith(f"/{name}") for path in known), name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_modules_that_are_named_exist(page):
    for name in re.findall(r"\btrimwave((?:\.\w+)+)", page.read_text("utf-8")):
        *folders, last = name.strip(".").split(".")
        folder = SOURCE.joinpath(*folders)
        inside = (
            folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        )
        found = (folder / last).is_dir() or (folder / f"{last}.py").exists()
        assert found or re.search(rf"\b{last}\b", inside.read_text("utf-8")), name


def map_of(page):
    (block,) = [one for one in ALL_BLOCKS if (one.page, one.kind) == (page, "text map")]
    return block.text.splitlines()


def test_the_folders_of_the_readme_are_all_there_are_in_their_order():
    folders = [line.split()[0].rstrip("/") for line in map_of("README.md")]
    there = {path.name for path in SOURCE.iterdir() if any(path.glob("*.py"))}
    assert set(folders) == there
    assert folders == [name for name in ORDER if "." not in name]
    assert all(len(line.split()) > 3 for line in map_of("README.md"))


def test_every_file_is_in_the_map_of_the_design():
    listed, folders = [], []
    for line in map_of("docs/design.md"):
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        if name.endswith("/"):
            folders = [*folders[: indent // 2], name.rstrip("/")]
        else:
            listed.append("/".join([*folders[: indent // 2], name]))
            assert len(line.split()) > 1, f"say what {name} does"
    files = [
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    ]
    assert len(set(listed)) == len(listed)
    assert set(listed) == set(files)
    in_order = dict.fromkeys(path.rpartition("/")[0] for path in listed)
    assert [folder.replace("/", ".") for folder in in_order] == list(ORDER)


def test_the_readme_stays_short():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) < 140
    first_screen = "\n".join(lines[:60])
    for part in ("](docs/demo.png)", "pip install", "```python", "arxiv.org"):
        assert part in first_screen, part


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_begins_with_what_it_is_for(page):
    title, blank, first, *_ = page.read_text("utf-8").splitlines()
    assert title.startswith("# ")
    assert not blank
    assert first[0].isalpha() or first.startswith(("`", "**", "```"))
