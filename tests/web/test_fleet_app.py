"""The page of a fleet tells what its folder says."""

from pathlib import Path

import pytest

from narrowcast.fleet.state import CameraState, FleetReport, write_event, write_state
from narrowcast.web.access import Access
from narrowcast.web.fleet_app import fleet_app, newest_events

from .clients import client, refused


@pytest.fixture
def out(tmp_path: Path) -> Path:
    gate = CameraState(name="gate", status="running", frames=120, accuracy=0.8, target=0.75, calls=9)
    write_state(tmp_path, FleetReport(1000.0, (gate, CameraState(name="door", status="failed", message="<b>no</b>"))))
    write_event(tmp_path, "begun", cameras=2)
    write_event(tmp_path, "camera failed", camera="door")
    (tmp_path / "cameras" / "gate").mkdir(parents=True)
    (tmp_path / "cameras" / "gate" / "report.html").write_text("the report", encoding="utf-8")
    return tmp_path


def test_every_camera_is_told(out: Path) -> None:
    own = client(fleet_app(out, Access()))
    assert out.name in own.get("/").text
    fleet = own.get("/api/fleet").json()
    assert [camera["name"] for camera in fleet["cameras"]] == ["gate", "door"]
    assert [camera["has_report"] for camera in fleet["cameras"]] == [True, False]
    assert [event["kind"] for event in fleet["events"]] == ["camera failed", "begun"]
    assert fleet["age_s"] > 0
    assert not fleet["has_ended"]


def test_reports_are_those_of_its_cameras(out: Path) -> None:
    own = client(fleet_app(out, Access()))
    assert own.get("/reports/gate").text == "the report"
    refused(own.get("/reports/door"), 404)
    refused(own.get("/reports/..%2Fgate"), 404)


def test_a_folder_without_a_fleet_is_said(tmp_path: Path) -> None:
    assert "no fleet has run here" in client(fleet_app(tmp_path, Access())).get("/api/fleet").text


def test_events_that_were_cut_off_are_left_out(out: Path) -> None:
    with (out / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"time": 1, "ki')
    assert [event["kind"] for event in newest_events(out, 1)] == ["camera failed"]
