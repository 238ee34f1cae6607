"""What `narrowcast fleet` does, apart from parsing."""

import json
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from narrowcast.cli._interrupt import stop_on_signal
from narrowcast.cli._progress import Progress
from narrowcast.core.errors import NarrowcastError, UsageError
from narrowcast.fleet.cameras import Fleet
from narrowcast.fleet.on_ray import on_ray
from narrowcast.fleet.run import OneProcess, Workers, run_fleet
from narrowcast.fleet.state import FleetReport, read_state
from narrowcast.web.access import Access
from narrowcast.web.fleet_app import fleet_app
from narrowcast.web.serving import serving

STALE_S = 10.0  # a fleet that runs writes its state every second


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRequest:
    """The command line of `fleet run`, as typed."""

    cameras: Path
    out: Path
    num_workers: int
    num_teachers: int
    address: str | None
    resume: bool

    def __post_init__(self) -> None:
        if self.num_workers < 0 or self.num_teachers < 1:
            raise UsageError("--workers must not be negative, --teachers be at least 1")
        if not self.num_workers and (self.num_teachers > 1 or self.address is not None):
            raise UsageError("--teachers and --address have no effect without --workers: one process has one teacher")


def run(request: FleetRequest, *, as_json: bool) -> None:
    """Run the fleet and say where it ended."""
    report = None
    with ExitStack() as stack, stop_on_signal("every camera's frame") as stop, Progress("fleet") as progress:

        def workers(fleet: Fleet) -> Workers:
            if not request.num_workers:
                return OneProcess(fleet, request.out)
            made = on_ray(
                fleet,
                request.out,
                num_workers=request.num_workers,
                num_teachers=request.num_teachers,
                address=request.address,
            )
            return stack.enter_context(made)

        for report in run_fleet(
            request.cameras, request.out, workers, resume=request.resume, should_stop=lambda: stop.is_asked
        ):
            progress.show(sum(camera.frames for camera in report.cameras), None, _line(report))
    assert report is not None
    _tell(report, as_json=as_json)
    stop.exit()
    failed = [camera.name for camera in report.cameras if camera.status == "failed"]
    if failed:
        raise NarrowcastError(f"{request.out}: {len(failed)} of {len(report.cameras)} cameras failed: {failed[0]}")


def status(out: Path, *, as_json: bool) -> None:
    """Print the state of a fleet."""
    report = read_state(out)
    _tell(report, as_json=as_json)
    age_s = time.time() - report.time
    if not as_json and not report.has_ended and age_s > STALE_S:
        typer.echo(f"nothing new for {age_s:.0f} s: the fleet does not run; narrowcast fleet run --resume goes on")


def page(out: Path, *, host: str, port: int, token: str) -> None:
    """Serve the page of a fleet until told to stop."""
    read_state(out)
    access = Access(host=host, token=token)
    with stop_on_signal("the page") as stop, serving(fleet_app(out, access), access, port=port) as address:
        typer.echo(address.url)
        while not stop.is_asked:
            time.sleep(0.2)
    stop.exit()


def _line(report: FleetReport) -> str:
    counts = Counter(camera.status for camera in report.cameras)
    return "frames  " + ", ".join(f"{number} {status}" for status, number in counts.items())


def _tell(report: FleetReport, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"time": report.time, "cameras": [asdict(camera) for camera in report.cameras]}))
        return
    for camera in report.cameras:
        accuracy = "–" if camera.accuracy is None else f"{camera.accuracy:.2f}"
        typer.echo(
            f"{camera.name}: {camera.status}, {camera.frames} frames, accuracy {accuracy}, stride {camera.stride},"
            f" {camera.calls} teacher calls ({camera.refused} refused)"
            + (f", began with {camera.recalled}" if camera.recalled else "")
            + (f": {camera.message}" if camera.message else "")
        )
