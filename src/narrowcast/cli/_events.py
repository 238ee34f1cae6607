"""What `narrowcast stream events` does, apart from parsing."""

import json
from pathlib import Path

import typer

from narrowcast.core.config import from_dict, read_recipe
from narrowcast.stream.events import EventsConfig
from narrowcast.stream.events_report import CANDIDATES, FOLDER, write_events

SECTION = "events"


def events(run: Path, recipe: Path | None, settings: list[str], *, as_json: bool) -> None:
    """Write the events of a run and say what was found."""
    sections = read_recipe(recipe, settings, known=(SECTION,))
    config = from_dict(EventsConfig, sections.get(SECTION, {}), where=f"[{SECTION}]")
    found = write_events(run, config=config)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo(
        f"{found['lessons']} lessons, {found['updates']} updates: {len(found['peaks'])} peaks,"
        f" {found['candidates']} regions on which the teacher was disagreed with\n"
        f"{run / FOLDER / CANDIDATES}\n{run / FOLDER / 'report.html'}"
    )
