"""What running only the chosen branches saves, by the clock: branch stage, whole networks, training steps.

Everything is timed in turns and told as medians; only ratios within a run mean anything. "masked" evaluates all
branches on all images, as the thesis trains. Which branches an image wants is drawn at random for the branch stage.
"""

import copy
import dataclasses
from functools import partial
from typing import Any

import record
import torch

from narrowcast.core.runtime import seed_everything
from narrowcast.hydra.bench import bench, in_turns
from narrowcast.hydra.dispatch import FORMS, Dispatcher, run_masked
from narrowcast.hydra.families import hydra_res, hydra_ressep
from narrowcast.hydra.net import HydraNet
from narrowcast.hydra.routes import top_routes
from narrowcast.models.ressep import ResSep

BATCHES = (1, 32, 256)
FORM_BATCHES = (1, 32, 256, 2048)
BRANCH_BARS = {1: 0.06, 32: 0.20, 256: 0.12}
STATIC_BAR, TRAINING_BAR = 1.4, 2.4


def main() -> int:
    parser = record.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--forms", action="store_true", help="time each form by itself, as is always done on CUDA")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    seed_everything(0)
    repeats, batches = (1, (1, 4)) if arguments.quick else (arguments.repeats, BATCHES)
    net = hydra_ressep(depth=2, stem_width=0.5, gate_width=0.125).to(device)
    rows = [
        dataclasses.asdict(row) | {"net": "Hydra-ResSep-A"}
        for row in bench(net, batches, size_hw=(224, 224), kinds=["branches"], repeats=repeats)
    ]
    fastest = {str(key[0]): form for key, form in net._dispatcher._fastest.items()}  # by bits of the number of rows
    result = {
        "rows": rows + training_rows(arguments.quick, repeats, device),
        "fastest_form_by_row_bits": fastest,
        "whole": whole(net, max(repeats, 5), device),
    }
    result["ratios"] = bars(result)
    if arguments.forms or device.type == "cuda":
        result["forms"] = forms(net, (1, 4) if arguments.quick else FORM_BATCHES, repeats)
        print(record.table(list(result["forms"][0]), [list(row.values()) for row in result["forms"]]))
    shown = [
        [row["net"], row["what"], row["batch"], row["masked_ms"], row["dispatched_ms"], row["ratio"]]
        for row in result["rows"]
    ]
    print(record.table(["network", "what", "batch", "masked ms", "dispatched ms", "ratio"], shown))
    print(record.table(["", "measured", "bar", "met"], [list(bar.values()) for bar in result["ratios"]]))
    record.write(
        arguments.out, "hydra-dispatch-cuda" if device.type == "cuda" else "hydra-dispatch", result, device=device
    )
    return 0 if arguments.quick or all(bar["is_met"] for bar in result["ratios"]) else 1


def training_rows(is_quick: bool, repeats: int, device: torch.device) -> list[dict[str, Any]]:
    """Steps of Hydra-Res-d1."""
    batches = (8,) if is_quick else (256,)
    net = hydra_res(1).to(device)
    # an untrained gate sends nearly all images to the same branches; class labels in turn would be the other extreme
    rows = bench(net, batches, size_hw=(32, 32), kinds=["training step", "network"], repeats=repeats)
    return [dataclasses.asdict(row) | {"net": "Hydra-Res-d1"} for row in rows]


@torch.inference_mode()
def whole(net: torch.nn.Module, repeats: int, device: torch.device) -> dict[str, float]:
    """One image: Hydra-ResSep-A beside ResSep-A, both in float32 and NCHW."""
    static = ResSep(depth=2, width=0.5).to(device).eval()
    net.eval()
    image = torch.rand(1, 3, 224, 224, device=device)
    hydra_ms, static_ms = in_turns([lambda: net(image), lambda: static(image)], repeats=2 * repeats + 1)
    return {"hydra_ms": hydra_ms, "static_ms": static_ms, "ratio": hydra_ms / static_ms}


@torch.inference_mode()
def forms(net: HydraNet, batches: tuple[int, ...], repeats: int) -> list[dict[str, Any]]:
    """The branch stage in each form and precision, milliseconds."""
    rows, rng = [], torch.Generator().manual_seed(0)
    device = next(net.parameters()).device
    for dtype in (torch.float32, torch.bfloat16):
        branches = list(copy.deepcopy(net.branches).to(dtype).eval())
        for batch in batches:
            images = torch.rand(batch, 3, 224, 224, generator=rng).to(device)
            features = torch.cat([net.stem(part) for part in images.split(64)]).to(dtype)
            routes = top_routes(torch.rand(batch, len(branches), generator=rng).to(device), net.num_chosen)
            dispatcher = Dispatcher()
            calls = {"masked": partial(run_masked, branches, features, routes, all_statistics=True)}
            calls |= {form: partial(dispatcher.run, branches, features, routes, form=form) for form in FORMS}
            times = in_turns(list(calls.values()), repeats=repeats)
            found = {f"{form} ms": time for form, time in zip(calls, times, strict=True)}
            rows.append({"precision": str(dtype).removeprefix("torch."), "batch": batch} | found)
    return rows


def bars(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What was to be reached, and whether it was."""
    found = []
    for row in result["rows"]:
        if row["what"] == "branches" and row["batch"] in BRANCH_BARS:
            bar = BRANCH_BARS[row["batch"]]
            name = f"Hydra-ResSep-A, branch stage, batch {row['batch']}: dispatched ÷ masked"
            found.append({"name": name, "value": row["ratio"], "bar": f"≤ {bar}", "is_met": row["ratio"] <= bar})
        if row["what"] == "training step":
            speedup = 1 / row["ratio"]
            name = f"Hydra-Res-d1, training step, batch {row['batch']}: masked ÷ dispatched"
            found.append(
                {"name": name, "value": speedup, "bar": f"≥ {TRAINING_BAR}", "is_met": speedup >= TRAINING_BAR}
            )
    ratio = result["whole"]["ratio"]
    name = "Hydra-ResSep-A ÷ ResSep-A, one image"
    return [*found, {"name": name, "value": ratio, "bar": f"≤ {STATIC_BAR}", "is_met": ratio <= STATIC_BAR}]


if __name__ == "__main__":
    record.main(main)
