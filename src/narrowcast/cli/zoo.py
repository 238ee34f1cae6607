"""`narrowcast zoo`: every named network with its size and cost."""

import json as jsonlib
from typing import Annotated, Any

import typer


def zoo(json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False) -> None:
    """List every named network: parameters, multiply-adds at its resolution, and the thesis's figures.

    Example: narrowcast zoo --json
    """
    from narrowcast.metrics import cost
    from narrowcast.models.zoo import ZOO, describe

    rows = [describe(entry, count_macs=cost.count_macs) for entry in ZOO]
    if json:
        typer.echo(jsonlib.dumps(rows, indent=2))
    else:
        _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "input", "parameters", "multiply-adds", "thesis")
    for row in rows:
        height, width = row["input_size_hw"]
        cost = (f"{row['params'] / 1e6:.3f} M", f"{row['macs'] / 1e9:.2f} G")
        table.add_row(row["name"], f"{width}×{height}", *cost, _thesis(row["thesis"]))
    Console().print(table)


def _thesis(figures: dict[str, Any] | None) -> str:
    """The thesis's figures in its own unit, with where they stand."""
    if figures is None:
        return ""
    params = f"{figures['params'] / 1e6:.3g} M, " if figures["params"] else ""
    return f"{params}{figures['cost'] / 1e9:.4g} G {figures['unit']} (table {figures['table']}, {figures['row']})"
