"""`narrowcast zoo`: every named network with its size and cost."""

import json as jsonlib
from typing import Annotated

import typer


def zoo(json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False) -> None:
    """List every named network: parameters, multiply-adds at its resolution, and the thesis's figures.

    Example: narrowcast zoo --json
    """
    from narrowcast.models import zoo as networks

    rows = [networks.describe(entry) for entry in networks.ENTRIES]
    if json:
        typer.echo(jsonlib.dumps(rows, indent=2))
        return
    _print_table(rows)


def _print_table(rows: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "input", "parameters", "multiply-adds", "thesis")
    for row in rows:
        height, width = row["input_size_hw"]
        thesis = row["thesis"]
        printed = (
            f"{thesis['params'] / 1e6:.3g} M, {thesis['cost'] / 1e9:.4g} G {thesis['unit']} (table {thesis['table']}, {thesis['row']})"
            if thesis and thesis["params"]
            else (
                f"{thesis['cost'] / 1e9:.4g} G {thesis['unit']} (table {thesis['table']}, {thesis['row']})"
                if thesis
                else ""
            )
        )
        table.add_row(
            row["name"], f"{width}×{height}", f"{row['params'] / 1e6:.3f} M", f"{row['macs'] / 1e9:.2f} G", printed
        )
    Console().print(table)
