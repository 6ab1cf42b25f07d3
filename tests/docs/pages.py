"""The pages of the documentation: their code blocks, commands, links and headings.

``python tests/docs/pages.py`` lists every block and command and how it is checked.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = tuple(
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")
) + tuple(sorted((ROOT / "docs").glob("*.md")))
"""Whose blocks and commands are checked; CHANGELOG.md tells of what was."""

KINDS = {
    "python": "run; what it prints is the text block behind it",
    "python example": "a file of examples/, word for word, and of the page's commands",
    "text": "compared with what the Python before it prints",
    "console": "run; compared with what it prints",
    "sh": "each command run, or followed to where its work begins",
    "csv": "a file of the page's commands, `cell.csv`",
    "toml": "a recipe of the page's commands, `my.toml`; loaded",
    "text recorded": "output of a long run: columns, command, hardware, date",
    "text map": "compared with the files of the package",
    "text drawing": "a drawing; nothing in it can be run",
}
"""What stands behind a fence, and how it is checked; another one fails."""

PROGRAMS = ("trimwave", "python", "python3", "pip", "pytest", "make", "git", "source")
SCRIPTS = (".ci/run",)
"""What a command begins with."""

FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
VARIABLE = re.compile(r"[A-Z_]+=.*")


@dataclass(frozen=True)
class Block:
    """What stands between fences."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command line, and what the page shows below it."""

    page: str
    line: int
    words: tuple[str, ...]
    shown: str | None = None

    @property
    def program(self) -> str:
        """What is called: its name without folders, but for scripts of ours."""
        first = self.words[0]
        return first if first in SCRIPTS else first.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {shlex.join(self.words)}"


def name_of(path: Path) -> str:
    """Return a page's name in the repository."""
    return path.relative_to(ROOT).as_posix()


def blocks_of(path: Path) -> list[Block]:
    """Return a page's fenced blocks in order."""
    text = path.read_text("utf-8")
    return [
        Block(name_of(path), text.count("\n", 0, found.start()) + 1, *found.groups())
        for found in FENCE.finditer(text)
    ]


def prose_of(path: Path) -> str:
    """Return a page without its fenced blocks, line for line."""
    blank = lambda found: "\n" * found[0].count("\n")  # noqa: E731
    return FENCE.sub(blank, path.read_text("utf-8"))


def split_line(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the commands of a line, without comments and variables before them."""
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), "&&"]:
        if word == "&&":
            if words:
                yield tuple(words)
            words = []
        elif words or not VARIABLE.fullmatch(word):
            words.append(word)


def _of_block(block: Block) -> Iterator[Command]:
    text = block.text.replace("\\\n", " ")
    if block.kind == "console":
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            for words in split_line(line):
                yield Command(block.page, block.line, words, shown)
    elif block.kind == "sh":
        for line in text.splitlines():
            for words in split_line(line):
                yield Command(block.page, block.line, words)


def _of_spans(path: Path) -> Iterator[Command]:
    text = prose_of(path)
    for found in SPAN.finditer(text):
        span = " ".join(found[1].split())
        for words in split_line(span) if span.count("'") % 2 == 0 else ():
            line = text.count("\n", 0, found.start()) + 1
            command = Command(name_of(path), line, words)
            if command.program in SCRIPTS or (
                command.program in PROGRAMS and len(words) > 1
            ):
                yield command


def commands_of(path: Path) -> list[Command]:
    """Return a page's commands: of its blocks, then those within lines."""
    in_blocks = [one for block in blocks_of(path) for one in _of_block(block)]
    return [*in_blocks, *_of_spans(path)]


def commands_of_recipes() -> Iterator[Command]:
    """Yield the commands in the recipes' comments."""
    for path in sorted((ROOT / "recipes").rglob("*.toml")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            if found := re.match(r"#\s+(trimwave .*)", line):
                for words in split_line(found[1]):
                    yield Command(name_of(path), number, words)


ALL_BLOCKS = [block for page in PAGES for block in blocks_of(page)]
ALL_COMMANDS = [
    *(command for page in PAGES for command in commands_of(page)),
    *commands_of_recipes(),
]


def anchors_of(path: Path) -> set[str]:
    """Return what a link may name behind `#`, by GitHub's rule."""
    heads = re.findall(r"^#+ (.*)$", prose_of(path), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.replace(" ", "-") for head in plain}


if __name__ == "__main__":
    for block in ALL_BLOCKS:
        print(f"{block!s:28} {block.kind:14} {KINDS.get(block.kind, 'UNKNOWN')}")
    from commands import way_of

    for command in ALL_COMMANDS:
        print(f"{way_of(command).__doc__.splitlines()[0]:60} {command}")
