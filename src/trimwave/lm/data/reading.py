"""What a recipe says of its source of rows: which of the hub's, which columns."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from trimwave.base.errors import InputError, nearest
from trimwave.lm.data.layouts import Layout
from trimwave.lm.data.rows import Lack, Row, listed, shown, text_of
from trimwave.recipe.config import DataConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How one source is read."""

    columns: tuple[str, ...] = ()
    """Names of the columns of tables that have no header."""
    label_column: str = ""
    """Column of the class that the Dirichlet partition goes by."""
    label_names: tuple[str, ...] = ()
    """Names of classes 0, 1, and so on."""
    client_column: str = ""
    """Column that says whose row it is."""
    configuration: str = ""
    """Of a data set of the hub that has several."""
    revision: str = ""
    """Commit, branch or tag of a data set of the hub."""

    @classmethod
    def of(cls, data: DataConfig) -> "Reading":
        """Return what a config says."""
        return cls(
            columns=data.columns,
            label_column=data.label_column,
            label_names=data.label_names,
            client_column=data.client_column,
            configuration=data.configuration,
            revision=data.revision,
        )

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns beside those of the layout that something is made of."""
        return self.label_column, self.client_column

    def of_tests(self, columns: Collection[str]) -> "Reading":
        """Return how test rows are read: they need not say whose or of which class."""
        whose = self.client_column if self.client_column in columns else ""
        if (self.label_column or "label") in columns:
            return replace(self, client_column=whose)
        return replace(self, client_column=whose, label_column="", label_names=())

    def check(self, columns: Collection[str], source: str) -> None:
        """Refuse a source without a column that is asked for.

        Raises
        ------
        InputError
            Naming the column and the nearest one.
        """
        for key in ("label_column", "client_column"):
            column = getattr(self, key)
            if column and column not in columns:
                raise InputError(
                    f"`data.{key}` is {column!r}, a column that `{source}` does not "
                    f"have; it has {listed(columns)}; {nearest(column, columns)}"
                )
        if self.label_names and (self.label_column or "label") not in columns:
            raise InputError(
                f"`data.label_names` names the classes of a column `label`, which "
                f"`{source}` does not have; name it in `data.label_column`."
            )

    def row(
        self, layout: Layout, record: Mapping[str, object], where: str
    ) -> Row | Lack:
        """Lay one record out, and say of which class and whose it is.

        Raises
        ------
        InputError
            If a class has no name, or a row no client; says where it stands.
        """
        if self.label_names:
            record = self._named(record, where)
        row = layout.row(record, where)
        if isinstance(row, Lack):
            return row
        if self.label_column:
            label = self._value(record, self.label_column, where)
            row = replace(row, label=label or None)
        if self.client_column:
            client = self._value(record, self.client_column, where)
            if not client:
                raise InputError(
                    f"{where} has no `{self.client_column}`, so whose row it is cannot "
                    f"be known; write it, or take the row out."
                )
            row = replace(row, client=client)
        return row

    @staticmethod
    def _value(record: Mapping[str, object], column: str, where: str) -> str:
        return text_of(record.get(column), column, where).strip()

    def _named(self, record: Mapping[str, object], where: str) -> dict[str, object]:
        column = self.label_column or "label"
        number = self._value(record, column, where)
        named = dict(record)
        if number:
            known = dict(enumerate(self.label_names))
            if not number.isdecimal() or int(number) not in known:
                raise InputError(
                    f"{where}: `{column}` is {shown(number)}, which is none of the "
                    f"numbers 0 to {len(known) - 1} that `data.label_names` names; "
                    f"where classes count from 1, put a name for 0 before them."
                )
            named[column] = known[int(number)]
        return named


AS_IS = Reading()
"""Nothing is said of the columns."""
