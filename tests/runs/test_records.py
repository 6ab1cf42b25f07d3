import errno
import json
import os
import shutil
import signal
import threading
from dataclasses import replace

import pytest

from trimwave.base.errors import RunError
from trimwave.base.provenance import hardware_and_versions
from trimwave.base.stored import sealed, unsealed, write_sealed
from trimwave.recipe.config import CellConfig, Config
from trimwave.runs.records import Run


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", Config(name="one"), {"backend": "fake"})


def saver(number):
    """Return a save function whose files tell the round."""

    def save(folder):
        (folder / "adapter.bin").write_bytes(bytes([number % 256]) * 100)
        (folder / "other.bin").write_bytes(b"x")

    return save


def commit(run, *numbers):
    for number in numbers:
        record = {"round": number, "virtual_s": number / 3}
        run.commit(record, saver(number), elapsed_s=1.23456)


def restore(run):
    """Return the restored records and which round's files were loaded."""
    loaded = []
    records = run.restore(lambda f: loaded.append((f / "adapter.bin").read_bytes()[0]))
    return records, loaded


def line_of(number):
    """Return the line of a round, as it stands in the file."""
    return json.dumps(sealed({"round": number, "virtual_s": number / 3})) + "\n"


def rounds(records):
    return [record["round"] for record in records]


def newest(run):
    return max((run.folder / "checkpoints").glob("round-*"))


def test_a_new_run_has_a_manifest(run):
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest["backend"] == "fake"
    assert manifest["config"]["name"] == "one"
    opened = Run.open(run.folder)
    assert opened.config == Config(name="one")
    assert opened.records() == []
    assert restore(opened) == ([], [])


def test_the_manifest_is_json_for_everyone(run):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = (run.folder / "manifest.json").read_text()
    json.loads(text, parse_constant=refuse)


def test_facts_of_the_machine():
    facts = hardware_and_versions(("numpy", "no-such-package"))
    assert set(facts["versions"]) == {"python", "numpy"}
    assert facts["hardware"]["cpus"] >= 1


def test_a_used_folder_is_refused(run):
    before = (run.folder / "manifest.json").read_text()
    with pytest.raises(
        RunError,
        match="already holds a run .*go on with it by .*`resume=`.*another `out`",
    ):
        Run.create(run.folder, Config(), {})
    assert (run.folder / "manifest.json").read_text() == before


def test_a_folder_without_a_run_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match=r"holds no run \(no manifest.json\)"):
            Run.open(folder)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="the run was not started") as caught:
        Run.create(tmp_path / "file" / "run", Config(), {})
    # There is no run yet that could be resumed.
    assert "--resume" not in str(caught.value)


def test_a_damaged_manifest_is_named(run):
    (run.folder / "manifest.json").write_text('{"config": {')
    with pytest.raises(RunError, match="manifest.json is damaged: it is not JSON"):
        Run.open(run.folder).config  # noqa: B018


def test_records_come_back_to_the_last_bit(run):
    commit(run, 0, 1, 2)
    records, loaded = restore(Run.open(run.folder))
    assert records == [{"round": n, "virtual_s": n / 3} for n in range(3)]
    assert loaded == [2]


def test_timing_is_kept_apart(run):
    commit(run, 0, 1)
    lines = (run.folder / "timing.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        sealed({"round": 0, "wall_s": 1.235}),
        sealed({"round": 1, "wall_s": 1.235}),
    ]
    assert "wall_s" not in (run.folder / "rounds.jsonl").read_text()


def test_two_checkpoints_are_kept(run):
    for number in range(5):
        commit(run, number)
        names = sorted(path.name for path in (run.folder / "checkpoints").iterdir())
        kept = range(max(0, number - 1), number + 1)
        assert names == [f"round-{n:04d}" for n in kept]


def test_the_newest_checkpoint_is_kept_beyond_four_digits(run):
    lines = "".join(line_of(n) for n in range(9998))
    (run.folder / "rounds.jsonl").write_text(lines)
    commit(run, 9998, 9999, 10000)
    records, loaded = restore(run)
    assert len(records) == 10001
    assert loaded == [10000 % 256]


def test_a_torn_last_line_is_dropped(run):
    commit(run, 0, 1)
    with (run.folder / "rounds.jsonl").open("a") as file:
        file.write(line_of(2)[:30])
    assert rounds(run.records()) == [0, 1]
    with pytest.warns(UserWarning, match="goes on from round 1: .*line 3 is damaged"):
        assert rounds(restore(run)[0]) == [0, 1]
    commit(run, 2)
    assert rounds(run.records()) == [0, 1, 2]


def test_a_line_without_a_checkpoint_is_cut(run):
    commit(run, 0, 1)
    with (run.folder / "rounds.jsonl").open("a") as file:
        file.write(line_of(2))
    assert rounds(restore(run)[0]) == [0, 1]
    assert rounds(run.records()) == [0, 1]


def test_lost_lines_are_no_basis(run):
    commit(run, 0, 1, 2)
    path = run.folder / "rounds.jsonl"
    path.write_text(line_of(0))
    with pytest.raises(RunError, match="no checkpoint in .* is sound for rounds up"):
        restore(run)
    assert path.read_text() == line_of(0)


@pytest.mark.parametrize("spoil", [str.upper, lambda line: line.replace("0.3", "0.4")])
def test_a_damaged_line_is_named_and_nothing_cut(run, spoil):
    commit(run, 0, 1, 2, 3)
    path = run.folder / "rounds.jsonl"
    lines = [line_of(n) for n in range(4)]
    path.write_text("".join([lines[0], spoil(lines[1]), *lines[2:]]))
    before = path.read_text()
    for read in (run.records, lambda: restore(run)):
        with pytest.raises(RunError, match="rounds.jsonl, line 2 is damaged"):
            read()
    assert path.read_text() == before


def test_lines_out_of_order_are_no_records(run):
    commit(run, 0, 1, 2, 3)
    lines = [line_of(n) for n in (0, 2, 1, 3)]
    (run.folder / "rounds.jsonl").write_text("".join(lines))
    with pytest.raises(RunError, match="line 2 is damaged: it is not round 1"):
        run.records()


def test_a_line_without_its_end_takes_the_next_one(run):
    commit(run, 0, 1)
    path = run.folder / "rounds.jsonl"
    path.write_text(path.read_text().rstrip("\n"))
    assert rounds(restore(run)[0]) == [0, 1]
    commit(run, 2)
    assert rounds(run.records()) == [0, 1, 2]


def test_without_any_checkpoint_the_records_stay(run):
    commit(run, 0, 1, 2)
    shutil.rmtree(run.folder / "checkpoints")
    before = (run.folder / "rounds.jsonl").read_bytes()
    with pytest.raises(RunError, match="has 2 rounds and no checkpoint left"):
        restore(run)
    assert (run.folder / "rounds.jsonl").read_bytes() == before
    with pytest.raises(RunError, match="already holds a run"):
        Run.create(run.folder, Config(), {})


def test_a_kill_in_round_zero_leaves_nothing_to_lose(run):
    (run.folder / "rounds.jsonl").write_text(line_of(0))
    assert restore(run) == ([], [])
    commit(run, 0)
    assert rounds(run.records()) == [0]


def test_lines_of_lost_checkpoints_are_kept_beside(run):
    commit(run, 0, 1, 2)
    path = run.folder / "rounds.jsonl"
    before = "".join(line_of(n) for n in range(5))
    path.write_text(before)
    with pytest.warns(
        UserWarning, match=r"rounds 3 to 4 .* kept as rounds.jsonl.before"
    ):
        assert rounds(restore(run)[0]) == [0, 1, 2]
    assert (run.folder / "rounds.jsonl.before").read_text() == before


def test_a_damaged_time_is_no_loss(run):
    commit(run, 0, 1)
    path = run.folder / "timing.jsonl"
    path.write_text(path.read_text().replace("1.235", "9.999", 1))
    with pytest.warns(UserWarning, match="timing.jsonl has damaged lines"):
        assert rounds(restore(run)[0]) == [0, 1]
    assert len(path.read_text().splitlines()) == 1


def truncate(path):
    path.write_bytes(path.read_bytes()[:10])


def flip(path):
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


DAMAGE = {
    "truncated": ("adapter.bin", truncate),
    "a bit flipped": ("adapter.bin", flip),
    "gone": ("other.bin", lambda path: path.unlink()),
    "state gone": ("state.json", lambda path: path.unlink()),
    "state torn": ("state.json", truncate),
    "state empty": ("state.json", lambda path: path.write_text("")),
    "state of zeros": ("state.json", lambda path: path.write_bytes(bytes(64))),
    "state without files": ("state.json", lambda path: path.write_text("{}")),
    "state no table": ("state.json", lambda path: path.write_text("[]")),
    "state of another kind": ("state.json", lambda path: write_sealed(path, {"a": 1})),
    "state of another round": (
        "state.json",
        lambda path: write_sealed(path, {"round": 1, "files": {}}),
    ),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_the_checkpoint_before_a_damaged_one_is_taken(run, name, damage):
    commit(run, 0, 1, 2)
    damage(newest(run) / name)
    with pytest.warns(UserWarning, match="round-0002 cannot be used.*the one before"):
        records, loaded = restore(run)
    assert rounds(records) == rounds(run.records()) == [0, 1]
    assert loaded == [1]
    commit(run, 2)
    assert restore(run)[1] == [2]


@pytest.mark.filterwarnings("ignore:checkpoint")
def test_without_a_sound_checkpoint_nothing_is_resumed(run):
    commit(run, 0, 1, 2)
    before = (run.folder / "rounds.jsonl").read_bytes()
    for folder in (run.folder / "checkpoints").glob("round-*"):
        truncate(folder / "adapter.bin")
    with pytest.raises(RunError, match="no checkpoint in .* is sound"):
        restore(run)
    assert (run.folder / "rounds.jsonl").read_bytes() == before


def test_a_draft_is_no_checkpoint(run):
    commit(run, 0)
    draft = run.folder / "checkpoints" / ".draft-0001"
    draft.mkdir()
    (draft / "adapter.bin").write_bytes(b"half")
    assert restore(run)[1] == [0]
    commit(run, 1)
    assert not draft.exists()
    assert restore(run)[1] == [1]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failed_write_leaves_the_round_before(run, code):
    commit(run, 0, 1)

    def save(folder):
        (folder / "adapter.bin").write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    with pytest.raises(RunError, match="round 2 is not saved.*--resume") as caught:
        run.commit({"round": 2}, save, 1.0)
    assert str(run.folder) in str(caught.value)
    assert ("free some space" in str(caught.value)) == (code == errno.ENOSPC)
    records, loaded = restore(Run.open(run.folder))
    assert rounds(records) == [0, 1]
    assert loaded == [1]


def test_ctrl_c_waits_for_both_files(run):
    commit(run, 0)

    def save(folder):
        os.kill(os.getpid(), signal.SIGINT)
        saver(1)(folder)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run.commit({"round": 1}, save, 1.0)
    assert signal.getsignal(signal.SIGINT) is handler
    records, loaded = restore(run)
    assert rounds(records) == [0, 1]
    assert loaded == [1]


def test_a_run_may_be_recorded_off_the_main_thread(run):
    worker = threading.Thread(target=commit, args=(run, 0))
    worker.start()
    worker.join()
    assert restore(run)[1] == [0]


def test_a_run_goes_on_with_more_rounds_only(run):
    run.check_same(Config(name="one"))
    run.check_same(Config(name="one", rounds=11))
    with pytest.raises(RunError, match="rounds: 10 -> 9"):
        run.check_same(Config(name="one", rounds=9))


def test_every_changed_setting_is_named(run):
    changed = Config(name="one", seed=4, cell=CellConfig(num_clients=3))
    with pytest.raises(RunError) as caught:
        run.check_same(changed)
    assert "cell.num_clients: 8 -> 3; seed: 0 -> 4" in str(caught.value)


def test_a_number_that_is_none_is_not_recorded(run):
    commit(run, 0)
    with pytest.raises(ValueError, match="JSON"):
        run.commit({"round": 1, "loss": float("nan")}, saver(1), 1.0)
    assert rounds(restore(run)[0]) == [0]


def test_files_of_another_run_are_not_taken_for_its_own(tmp_path, run):
    other = Run.create(tmp_path / "other", replace(run.config, seed=9), {})
    for one in (run, other):
        commit(one, 0, 1, 2)
    mine = shutil.copytree(run.folder, tmp_path / "mine")
    for name in ("checkpoints", "rounds.jsonl", "manifest.json"):
        spoilt = shutil.copytree(mine, tmp_path / f"spoilt-{name}")
        if (spoilt / name).is_dir():
            shutil.rmtree(spoilt / name)
            shutil.copytree(other.folder / name, spoilt / name)
        elif name == "rounds.jsonl":
            path = spoilt / name
            lines = [unsealed(one, "x") for one in path.read_bytes().splitlines()]
            path.write_text(
                "".join(
                    json.dumps(sealed({**one, "loss": 0.5})) + "\n" for one in lines
                )
            )
        else:
            shutil.copy(other.folder / name, spoilt / name)
        with pytest.warns(UserWarning), pytest.raises(RunError, match="no checkpoint"):
            restore(Run.open(spoilt))
        with pytest.raises(RunError, match="it belongs to other records"):
            Run.open(spoilt).records()
    assert rounds(restore(Run.open(mine))[0]) == [0, 1, 2]


def test_a_run_that_grew_says_so(run):
    longer = replace(run.config, rounds=run.config.rounds + 5)
    run.grow(longer.rounds)
    assert Run.open(run.folder).config == longer
    run.grow(1)
    assert Run.open(run.folder).config == longer
    with pytest.raises(RunError, match="rounds"):
        run.check_same(replace(longer, rounds=longer.rounds - 1))
