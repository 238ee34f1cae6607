"""Options that several commands have, so that they are spelled and explained the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[Path | None, typer.Option("--config", help="TOML recipe with the sections of docs/.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="One setting of a recipe: SECTION.NAME=VALUE.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result on the same CPU.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
