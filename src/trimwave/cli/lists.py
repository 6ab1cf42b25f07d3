"""The commands that list what there is: methods, recipes, settings of recipes."""

import json
from typing import Annotated

import typer

from trimwave.report.console import plain_console


def methods() -> None:
    """List the methods with their options, those of installed packages too."""
    from trimwave.methods import METHODS, installed
    from trimwave.report.name_tables import method_table

    plain_console().print(method_table(METHODS, list(installed())))


def recipes() -> None:
    """List the recipes that can be named, and what each is for."""
    from trimwave.recipe.recipe import known_recipes
    from trimwave.report.setting_table import recipe_lines

    for line in recipe_lines(known_recipes()):
        print(line)


def settings(
    section: Annotated[
        str | None,
        typer.Argument(
            help="A section such as cell, or one setting such as cell.memory_bytes."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every setting of a recipe with its default, unit, type and meaning."""
    from dataclasses import asdict

    from trimwave.report.setting_table import setting_lines, settings_of_recipes

    found = settings_of_recipes(section)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
        return
    for line in setting_lines(found):
        print(line)
