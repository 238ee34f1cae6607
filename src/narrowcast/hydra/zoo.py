"""The HydraNets of tables 3.3 to 3.7, as entries that `narrowcast zoo` lists after those of `narrowcast.models.zoo`."""

from functools import partial

from torch import Tensor

from narrowcast.hydra.families import hydra_dense, hydra_res, hydra_ressep
from narrowcast.hydra.net import HydraNet
from narrowcast.models.zoo import CIFAR_HW, IMAGENET_HW, Entry, ThesisFigures, table_3_3

# d, w_s, w_g of table 3.4; with the 0.50 that it prints as E's w_g, E does not recount
RESSEP = {"A": (2, 0.5, 0.125), "B": (3, 0.5, 0.25), "C": (2, 0.75, 0.25), "D": (3, 0.75, 0.5), "E": (3, 1.0, 0.75)}


def run_chosen(net: HydraNet, images: Tensor) -> Tensor:
    """What inference executes: stem, gate, `num_chosen` branches, combiner."""
    return net.forward_fixed(images, range(net.num_chosen))


def run_all(net: HydraNet, images: Tensor) -> Tensor:
    """Every branch: the "total MADDs" of tables 3.5 and 3.7."""
    return net.forward_fixed(images, range(len(net.branches)))


def _ressep(letter: str, *, params: float, cost: float) -> Entry:
    depth, stem_width, gate_width = RESSEP[letter]
    return Entry(
        name=f"hydra-ressep-{letter.lower()}",
        build=partial(hydra_ressep, depth=depth, stem_width=stem_width, gate_width=gate_width),
        input_size_hw=IMAGENET_HW,
        run=run_chosen,
        thesis=_in_millions("3.4", f"Hydra-ResSep-{letter}", params, cost),
    )


def _variant(table: str, row: str, params: float, cost: float, *, total: bool = False, **options: int) -> Entry:
    """Hydra-ResSep-A with one hyper-parameter changed."""
    depth, stem_width, gate_width = RESSEP["A"]
    letters = {"num_branches": "nb", "num_chosen": "k", "branch_after": "block"}
    suffix = "".join(f"-{letters[option]}{value}" for option, value in options.items()) + ("-all" if total else "")
    return Entry(
        name=f"hydra-ressep-a{suffix}",
        build=partial(hydra_ressep, depth=depth, stem_width=stem_width, gate_width=gate_width, **options),
        input_size_hw=IMAGENET_HW,
        run=run_all if total else run_chosen,
        thesis=_in_millions(table, row, params, cost),
    )


def _res(depth: int, *, params: float, cost: float) -> Entry:
    return Entry(
        name=f"hydra-res-d{depth}",
        build=partial(hydra_res, depth),
        input_size_hw=CIFAR_HW,
        run=run_chosen,
        thesis=table_3_3(f"Hydra-Res-d{depth}", params=params, cost=cost),
    )


def _dense(depth: int, *, params: float, cost: float) -> Entry:
    return Entry(
        name=f"hydra-dense-d{depth}",
        build=partial(hydra_dense, depth),
        input_size_hw=CIFAR_HW,
        run=run_chosen,
        thesis=table_3_3(f"Hydra-Dense-d{depth}", params=params, cost=cost),
    )


def _in_millions(table: str, row: str, params: float, cost: float) -> ThesisFigures:
    return ThesisFigures(table=table, row=row, params=params * 1e6, cost=cost * 1e6, unit="MAC")


HYDRA_ZOO: tuple[Entry, ...] = (
    _ressep("A", params=10.89, cost=193),
    _ressep("B", params=13.30, cost=299),
    _ressep("C", params=15.70, cost=374),
    _ressep("D", params=19.51, cost=630),
    _ressep("E", params=26.83, cost=1075),
    _res(1, params=1.28, cost=52),
    _res(2, params=2.86, cost=118),
    _res(3, params=4.43, cost=184),
    _res(4, params=6.01, cost=251),
    _res(5, params=7.59, cost=317),
    _res(6, params=9.17, cost=383),
    _res(7, params=10.74, cost=449),
    _res(9, params=13.90, cost=581),
    _dense(2, params=2.77, cost=195),
    _dense(3, params=5.43, cost=360),
    _dense(4, params=8.97, cost=574),
    _dense(6, params=18.72, cost=1151),
    _variant("3.5", "n_b = 10, total", 3.30, 239, total=True, num_branches=10),
    _variant("3.5", "n_b = 25, total", 6.14, 376, total=True, num_branches=25),
    _variant("3.5", "n_b = 50, total", 10.89, 605, total=True, num_branches=50),
    _variant("3.6", "k = 1", 10.89, 157, num_chosen=1),
    _variant("3.6", "k = 3", 10.89, 175, num_chosen=3),
    _variant("3.6", "k = 5", 10.89, 193, num_chosen=5),
    _variant("3.6", "k = 10", 10.89, 239, num_chosen=10),
    _variant("3.7", "Block 2, Cond", 9.66, 174, branch_after=2),
    _variant("3.7", "Block 2, Total", 9.66, 695, total=True, branch_after=2),
)
