"""The commands that list what there is: `trimwave methods`."""

from trimwave.report.console import plain_console


def methods() -> None:
    """List the methods with their options."""
    from trimwave.methods import METHODS
    from trimwave.report.name_tables import method_table

    plain_console().print(method_table(METHODS))
