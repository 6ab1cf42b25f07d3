import importlib

import pytest

import trimwave
from trimwave.base.moved import MODULES

FOLDERS = {
    "cell": ["Cell"],
    "problem": ["Problem"],
    "recipe": ["find_recipe", "load_config", "merge_overrides"],
    "sweep": ["read_rows", "run_sweep"],
}


@pytest.mark.parametrize(("old", "new"), MODULES.items())
def test_an_old_module_says_where_it_went(old, new):
    with pytest.raises(ImportError, match=f"`trimwave.{old}` has moved to trimwave."):
        importlib.import_module(f"trimwave.{old}")
    for place in new.replace(" and ", ", ").split(", "):
        if place.startswith("lm."):
            pytest.importorskip("torch")
        importlib.import_module(f"trimwave.{place}")


def test_so_do_names_in_them():
    with pytest.raises(ImportError, match=r"moved to trimwave\.cell\.link, trimwave"):
        from trimwave.channel import Link  # noqa: F401
    with pytest.raises(ImportError, match=r"moved to trimwave\.base\.errors"):
        from trimwave import errors  # noqa: F401


@pytest.mark.parametrize(
    ("folder", "name"),
    [(folder, name) for folder in FOLDERS for name in FOLDERS[folder]],
)
def test_a_folder_that_has_a_modules_name_says_so_too(folder, name):
    package = importlib.import_module(f"trimwave.{folder}")
    with pytest.raises(
        ImportError, match=f"{folder}.{name}` has moved to trimwave."
    ) as e:
        getattr(package, name)
    place, _, _ = str(e.value).partition(" to ")[2].rpartition(".")[0].rpartition(".")
    assert hasattr(importlib.import_module(place), name)


def test_what_never_was_is_missing_as_usual():
    with pytest.raises(ModuleNotFoundError, match="No module named 'trimwave.nothing'"):
        importlib.import_module("trimwave.nothing")
    assert not hasattr(trimwave.cell, "nothing") and not hasattr(trimwave, "nothing")


def test_a_module_of_a_folder_that_moved_names_the_folder():
    with pytest.raises(
        ImportError, match=r"`trimwave.planner` has moved to trimwave.ana"
    ):
        importlib.import_module("trimwave.planner.prices")
