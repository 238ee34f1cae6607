"""`narrowcast zoo`: a table for people, a list for programs."""

import json

from narrowcast.hydra.zoo import HYDRA_ZOO
from narrowcast.models.zoo import ZOO

from .conftest import Cli


def test_the_list_for_programs_has_every_network(cli: Cli) -> None:
    answer = cli("zoo", "--json")
    assert (answer.code, answer.err) == (0, "")
    rows = json.loads(answer.out)
    assert [row["name"] for row in rows] == [entry.name for entry in (*ZOO, *HYDRA_ZOO)]
    assert {"jitnet", "jitnet-w0.5", "jitnet-w2.0", "jitnet-noskip"} <= {row["name"] for row in rows}
    for row in rows:
        assert row.keys() == {"name", "params", "macs", "input_size_hw", "thesis"}
        assert row["params"] > 0
        assert row["macs"] > 0
        assert row["thesis"] is None or row["thesis"].keys() == {"table", "row", "params", "cost", "unit"}


def test_the_table_for_people_has_every_network(cli: Cli) -> None:
    answer = cli("zoo")
    assert (answer.code, answer.err) == (0, "")
    assert [entry.name for entry in (*ZOO, *HYDRA_ZOO) if entry.name not in answer.out] == []
