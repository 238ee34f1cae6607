"""A machine of Ray that dies: its cameras go on, from their folders, on those that are left."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from narrowcast.core.runs import read_reports
from narrowcast.fleet.cameras import Fleet
from narrowcast.fleet.on_ray import on_ray
from narrowcast.fleet.ray_session import draw_token
from narrowcast.fleet.run import run_fleet

pytestmark = pytest.mark.slow
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def two_machines(write: Callable[..., Path]) -> Iterator[Any]:
    """A Ray of two nodes with two cores each, which notices within seconds when one is gone."""
    draw_token()
    from ray.cluster_utils import Cluster

    checks = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    memory = 100 * 2**20
    head = {"num_cpus": 2, "object_store_memory": memory, "_system_config": checks, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.second = cluster.add_node(num_cpus=2, object_store_memory=memory)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def test_cameras_of_a_lost_node_go_on_elsewhere(tmp_path: Path, write: Callable[..., Path], two_machines: Any) -> None:
    out, made, is_lost = tmp_path / "out", [], False
    path = write(*NAMES)

    def workers(fleet: Fleet):
        made.append(on_ray(fleet, out, num_workers=2, num_teachers=2, address=two_machines.address, lease_s=6.0))
        return made[0].__enter__()

    deadline = time.monotonic() + 240
    try:
        for report in run_fleet(path, out, workers, tick_s=0.1):
            assert time.monotonic() < deadline
            if not is_lost and all(camera.frames >= 3 for camera in report.cameras):
                two_machines.remove_node(two_machines.second, allow_graceful=False)
                is_lost = True
            last = report
    finally:
        made[0].__exit__(None, None, None)
    assert is_lost
    kinds = [json.loads(line)["kind"] for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "worker lost" in kinds
    assert {camera.status for camera in last.cameras} == {"finished"}
    for name in NAMES:
        reports = [report["frame"] for report in read_reports(out / "cameras" / name)]
        assert reports == list(range(20))
        summary = json.loads((out / "cameras" / name / "summary.json").read_text(encoding="utf-8"))
        assert (summary["status"], summary["frames"]) == ("finished", 20)
