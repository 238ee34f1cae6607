"""`narrowcast zoo`: every named network with its size and cost."""

import json as jsonlib
from importlib import resources
from typing import Annotated, Any

import typer

from narrowcast.cli._options import Json

COUNTED = "zoo.json"  # what --recount --json prints; tests count each network anew


def zoo(
    json: Json = False,
    recount: Annotated[bool, typer.Option("--recount", help="Build each network and count it anew, in 10 s.")] = False,
) -> None:
    """List every named network: parameters, multiply-adds at its resolution, and the thesis's figures.

    Example: narrowcast zoo --json
    """
    rows = _counted_anew() if recount else _known()
    if json:
        typer.echo(jsonlib.dumps(rows, indent=2))
    else:
        _print_table(rows)


def _known() -> list[dict[str, Any]]:
    return jsonlib.loads((resources.files("narrowcast.cli") / COUNTED).read_text(encoding="utf-8"))


def _counted_anew() -> list[dict[str, Any]]:
    from narrowcast.hydra.zoo import HYDRA_ZOO
    from narrowcast.metrics import cost
    from narrowcast.models.zoo import ZOO, describe

    return [describe(entry, count_macs=cost.count_macs) for entry in (*ZOO, *HYDRA_ZOO)]


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    right: Any = {"justify": "right", "no_wrap": True}
    columns = (Column("input", **right), Column("parameters", **right), Column("MAC", **right))
    note = "MAC: multiply-adds of one input. Thesis: parameters, MAC (table); half of what it prints as 2 × MAC."
    table = Table(
        Column("name", no_wrap=True),
        *columns,
        "thesis",
        box=SIMPLE_HEAD,
        caption=note,
        collapse_padding=True,
        pad_edge=False,
        show_edge=False,
    )
    for row in rows:
        height, width = row["input_size_hw"]
        cost = (f"{row['params'] / 1e6:.3f} M", _operations(row["macs"]))
        table.add_row(row["name"], f"{width}×{height}", *cost, _thesis(row["thesis"]))
    Console().print(table)


def _thesis(figures: dict[str, Any] | None) -> str:
    """The thesis's figures, to be compared with the columns before, and where they stand.

    >>> _thesis({"table": "3.3", "row": "ResNet-20", "params": 0.27e6, "cost": 81e6, "unit": "2xMAC"})
    '0.27 M, 40.5 M (3.3)'
    """
    if figures is None:
        return ""
    params = f"{figures['params'] / 1e6:.3g} M, " if figures["params"] else ""
    macs = figures["cost"] / (2 if figures["unit"] == "2xMAC" else 1)
    return f"{params}{_operations(macs)} ({figures['table']})"


def _operations(count: float) -> str:
    """Four digits with the letter that fits.

    >>> _operations(15.16e9), _operations(26_401_024)
    ('15.16 G', '26.4 M')
    """
    return f"{count / 1e9:.4g} G" if count >= 1e9 else f"{count / 1e6:.4g} M"
