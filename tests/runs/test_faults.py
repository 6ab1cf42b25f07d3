"""Whatever happens to a run's files: use, recovery with a word, or one clear error."""

import errno
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest
from faults import MUTATIONS, failing_disk, mutate
from hypothesis import given, settings
from hypothesis import strategies as st

from trimwave.base.errors import InputError, RunError
from trimwave.recipe.config import Config
from trimwave.runs.comparison import FILE, Comparison
from trimwave.runs.records import Run

ROUNDS = 4
CONFIG = Config(name="one", rounds=ROUNDS)
FILES = (
    "manifest.json",
    "rounds.jsonl",
    "timing.jsonl",
    "checkpoints/round-0003/state.json",
    "checkpoints/round-0003/adapter.bin",
    "checkpoints/round-0002/adapter.bin",
)

mutations = st.lists(
    st.tuples(
        st.sampled_from(FILES), st.sampled_from(MUTATIONS), st.integers(0, 2**32)
    ),
    min_size=1,
    max_size=3,
)
quick = settings(max_examples=150)


class Fake:
    """A server whose state is a number that every round changes."""

    def __init__(self):
        self.state = 1

    def train(self):
        self.state = self.state * 31 % 1009

    def save(self, folder):
        (folder / "adapter.bin").write_bytes(self.state.to_bytes(4, "big") * 8)

    def load(self, folder):
        self.state = int.from_bytes((folder / "adapter.bin").read_bytes()[:4], "big")


def go_on(folder, rounds=ROUNDS):
    """Run or resume to a round, as the round loop does; the records."""
    server, run = Fake(), Run.open(folder)
    run.check_same(CONFIG)
    records = run.restore(server.load)
    for number in range(len(records), rounds + 1):
        server.train()
        record = {"round": number, "loss": 1 / server.state}
        run.commit(record, server.save, 0.25)
        records.append(record)
    return records


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run of which all but the last round is done."""
    folder = tmp_path_factory.mktemp("faults") / "run"
    Run.create(folder, CONFIG, {"backend": "fake"})
    go_on(folder, ROUNDS - 1)
    return folder


@pytest.fixture(scope="module")
def unbroken(begun, tmp_path_factory):
    """The records of a run that nothing happened to."""
    whole = shutil.copytree(begun, tmp_path_factory.mktemp("whole") / "run")
    return go_on(whole)


@given(spoilt=mutations)
@quick
def test_a_spoilt_run_goes_on_alike_or_says_why_not(begun, unbroken, spoilt):
    with tempfile.TemporaryDirectory() as scratch:
        folder = shutil.copytree(begun, Path(scratch) / "run")
        for name, mutation, seed in spoilt:
            if (folder / name).exists():
                mutate(folder / name, mutation, seed)
        before = read(folder / "rounds.jsonl")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                assert go_on(folder) == unbroken
            except InputError as error:
                assert "\n" not in str(error)
                assert str(folder) in str(error)
                assert read(folder / "rounds.jsonl") == before
                return
        assert Run.open(folder).records() == unbroken
        lost = len(before.splitlines()) - ROUNDS
        assert said or lost == 0


def read(path):
    return path.read_bytes() if path.exists() else b""


@pytest.mark.filterwarnings("ignore:checkpoint")  # that cannot be read
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("reads_fail", [False, True])
def test_a_disk_that_fails_at_any_moment_loses_nothing(
    begun, unbroken, tmp_path, code, reads_fail
):
    after, done = 0, False
    while not done:
        folder = shutil.copytree(begun, tmp_path / str(after))
        try:
            with failing_disk(folder, code, after, reads_fail):
                go_on(folder)
            done = True
        except RunError as error:
            assert "\n" not in str(error)
            assert str(folder) in str(error)
        assert go_on(folder) == unbroken
        after += 1
    assert after > 10


@given(mutation=st.sampled_from(MUTATIONS), seed=st.integers(0, 2**32))
@settings(max_examples=100)
def test_a_spoilt_comparison_is_the_same_or_refused(mutation, seed):
    asked = Comparison(config=CONFIG, methods=("jcpba", "ubfp"), seeds=(0, 1))
    with tempfile.TemporaryDirectory() as scratch:
        asked.create(Path(scratch))
        mutate(Path(scratch) / FILE, mutation, seed)
        try:
            assert Comparison.read(Path(scratch)) == asked
        except RunError as error:
            assert "\n" not in str(error)
            assert scratch in str(error)
