import io

import pytest
from rich.console import Console

from trimwave.api.over_network import Way
from trimwave.api.training import new_run, resume_run
from trimwave.api.watch import Watch
from trimwave.base.errors import RunError
from trimwave.base.signals import Stopped
from trimwave.recipe.config import Config
from trimwave.runs.records import Run

RECORD = {"round": 0, "virtual_s": 0.0, "loss_emulator": 4.0, "loss_full": 4.5}


def a_way(fail):
    """A way over no network: begins the run, tells of all kinds, and fails."""

    def go(folder, config, told):
        if not (folder / "manifest.json").exists():
            Run.create(folder, config, {"backend": "flower"})
        told("say", "two clients are here")
        told("warn", "the clock jumped")
        told("record", RECORD)
        told("plan", {"0": {"down_bps": 1.0}})
        raise fail

    return Way(verb="emulate", run=go)


def test_what_a_way_tells_is_heard_and_its_verb_goes_on(tmp_path):
    page, heard = io.StringIO(), []
    console = Console(file=page, width=80)
    watch = Watch(console=console, on_round=lambda label, one: heard.append(one))
    folder = tmp_path / "run"
    with pytest.warns(UserWarning, match="clock jumped"), pytest.raises(Stopped):
        new_run(Config(), folder, watch, "flower", a_way(Stopped(15)))
    assert heard == [RECORD]
    assert "two clients are here" in page.getvalue()
    assert f"trimwave emulate --resume {folder}" in page.getvalue()

    with pytest.warns(UserWarning, match="clock"), pytest.raises(RunError, match="it"):
        resume_run(folder, lambda begun: begun, watch, way=a_way(RunError("it died")))
    assert heard == [RECORD, RECORD]


def test_a_folder_with_a_run_is_gone_on_with_only_if_that_is_asked_for(tmp_path):
    Run.create(tmp_path, Config(), {"backend": "flower"})
    watch = Watch(console=Console(file=io.StringIO()))
    with pytest.raises(RunError, match="already holds a run"):
        new_run(Config(), tmp_path, watch, "flower", a_way(AssertionError("it ran")))
