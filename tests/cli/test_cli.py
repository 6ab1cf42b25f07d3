import json
import subprocess
import sys
import warnings
from dataclasses import fields

import trimwave as package
from trimwave.methods import METHODS
from trimwave.methods.common import CommonOptions
from trimwave.model.names import KNOWN_MODELS
from trimwave.model.shape import SHAPES
from trimwave.sweep import one_round as planning


def test_a_warning_is_printed_as_it_is(trimwave, monkeypatch):
    def warn_first(*args, **kwargs):
        warnings.warn("odd folder [/x] [bold]name", UserWarning, stacklevel=1)
        return plan_cell(*args, **kwargs)

    plan_cell = planning.plan_cell
    monkeypatch.setattr(planning, "plan_cell", warn_first)
    warnings.simplefilter("always")  # pytest puts its own filters back
    code, out, err = trimwave("plan", "--json")
    assert code == 0
    assert err == "warning: odd folder [/x] [bold]name\n"
    assert json.loads(out)


def test_methods_are_listed_with_their_options(trimwave, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = trimwave("methods")
    assert code == 0
    text, said = " ".join(out.split()), 0
    common = [field.name for field in fields(CommonOptions)]
    for name, kind in METHODS.items():
        label, summary = kind().label, kind.__doc__.splitlines()[0]
        place = text.index(f"{name} {label}: {summary}")
        assert place >= said
        said = place
        for field in fields(kind):
            if field.name not in common:  # said once, for all
                said = text.index(f":{field.name}=", said)
    assert text.index("every method :learning_rate=... (a number, or left out)") > said
    assert text.count(":learning_rate") == 1
    assert ":solver=exact (exact, bcd) `exact`: the global optimum" in text


def test_the_version(trimwave):
    assert trimwave("--version") == (0, f"trimwave {package.__version__}\n", "")


def test_models_are_listed(trimwave, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    code, out, _ = trimwave("models")
    assert code == 0
    first = {line.split()[0] for line in out.splitlines()}
    assert first == {"name", *KNOWN_MODELS}
    assert KNOWN_MODELS.keys() == SHAPES.keys()


def test_help_says_what_there_is(trimwave):
    code, out, _ = trimwave("--help")
    assert code == 0
    assert "--version" in out
    for command in ("run", "compare", "plan", "sweep", "methods", "models"):
        assert command in out
        assert trimwave(command, "--help")[0] == 0


def test_a_plan_loads_no_torch(tmp_path):
    heavy = ("torch", "transformers", "peft", "datasets", "matplotlib", "scipy")
    code = (
        "import sys\nfrom trimwave.cli.app import main\n"
        "sys.argv = ['trimwave', 'plan', '--json']\n"
        "try:\n    main()\nexcept SystemExit as stopped:\n    assert not stopped.code\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "optimal"
    assert done.stderr.strip() == "[]"
