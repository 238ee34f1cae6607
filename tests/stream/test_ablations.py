import pytest

from narrowcast.core.errors import UsageError
from narrowcast.models.jitnet import JITNet
from narrowcast.models.pretrained import varied
from narrowcast.stream.ablations import ablations
from narrowcast.stream.distill import METHODS
from narrowcast.stream.methods import Distilled, parse_method


@pytest.mark.parametrize("name", [f"{method}-0.8" for method in METHODS])
def test_every_ablation_is_a_method_and_another_one(name: str) -> None:
    names = ablations(name)
    methods = [parse_method(one) for one in names]
    assert names[0] == name
    assert all(isinstance(method, Distilled) for method in methods)
    assert all(methods.count(method) == 1 for method in methods)


def test_the_columns_of_table_2_4_are_there() -> None:
    names = ablations("thesis-0.8")
    for setting in ("schedule.max_updates=4", "schedule.max_updates=16", "learner.learning_rate=0.001"):
        assert f"thesis-0.8[{setting}]" in names
    for network in ("[student.scale=0.75]", ":jitnet", ":jitnet[student.skips=false]"):
        assert f"thesis-0.8{network}" in names
    assert "thesis-0.8[distill.replay=16]" in names
    assert "default-0.8[distill.replay=0]" in ablations("default-0.8")


@pytest.mark.parametrize("name", ["hold-8", "default-0.8:jitnet", "default-0.8[distill.replay=0]"])
def test_only_methods_that_learn_are_varied(name: str) -> None:
    with pytest.raises(UsageError, match=r"as it is: default-0\.8"):
        ablations(name)


def test_weights_are_kept_where_they_fit() -> None:
    net = JITNet(3, width=0.25)
    scaled, wider = varied(net, {"scale": 0.5}), varied(net, {"width": 0.5})
    assert isinstance(scaled, JITNet)
    assert isinstance(wider, JITNet)
    assert scaled.scale == 0.5
    assert scaled.classifier.weight.equal(net.classifier.weight)
    assert wider.width == 0.5
