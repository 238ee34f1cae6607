"""`narrowcast zoo`: a table for people, a list for programs; its file says what the networks say."""

import json
from importlib import resources

import pytest

from narrowcast.cli.zoo import COUNTED
from narrowcast.hydra.zoo import HYDRA_ZOO
from narrowcast.metrics.cost import count_macs
from narrowcast.models.zoo import ZOO, describe

from .conftest import Cli

ENTRIES = {entry.name: entry for entry in (*ZOO, *HYDRA_ZOO)}
ROWS = json.loads((resources.files("narrowcast.cli") / COUNTED).read_text(encoding="utf-8"))
QUICK = ("jitnet", "resnet-14", "hydra-res-d1")  # tests/models and tests/hydra count more of them


def test_the_list_for_programs_has_every_network(cli: Cli) -> None:
    answer = cli("zoo", "--json")
    assert (answer.code, answer.err) == (0, "")
    rows = json.loads(answer.out)
    assert rows == ROWS
    assert [row["name"] for row in rows] == list(ENTRIES)
    for row in rows:
        assert row.keys() == {"name", "params", "macs", "input_size_hw", "thesis"}
        assert row["thesis"] is None or row["thesis"].keys() == {"table", "row", "params", "cost", "unit"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in ENTRIES]
)
def test_the_file_is_what_counting_anew_gives(name: str) -> None:
    """After a change: `narrowcast zoo --recount --json > src/narrowcast/cli/zoo.json`."""
    row = next(row for row in ROWS if row["name"] == name)
    assert row == describe(ENTRIES[name], count_macs=count_macs)


def test_the_table_for_people_has_every_network(cli: Cli) -> None:
    answer = cli("zoo")
    assert (answer.code, answer.err) == (0, "")
    assert [name for name in ENTRIES if name not in answer.out] == []


@pytest.mark.slow
def test_counting_anew_prints_the_same(cli: Cli) -> None:
    assert json.loads(cli("zoo", "--recount", "--json").out) == ROWS
