"""A stream's classes are kept, dropped and merged by name, in whatever spelling."""

import numpy as np
import pytest

from narrowcast.core.errors import ClassNameError, ConfigError
from narrowcast.models.callable_teacher import CallableTeacher
from narrowcast.models.classes import PRESETS, SelectedTeacher, parse_classes
from narrowcast.models.taxonomy import CITYSCAPES, COCO, TAXONOMIES, VOC


@pytest.mark.parametrize(
    ("text", "known", "classes", "rows"),
    [
        pytest.param("person", VOC, ("person",), [[15]], id="one class is kept"),
        pytest.param("person, car+bus=auto ", VOC, ("person", "auto"), [[15], [7, 6]], id="a merge, with blanks"),
        pytest.param("car=vehicle", VOC, ("vehicle",), [[7]], id="a new name"),
        pytest.param("motorcycle,airplane", VOC, ("motorcycle", "airplane"), [[14], [1]], id="COCO's spelling for VOC"),
        pytest.param("sofa,tvmonitor", COCO, ("sofa", "tvmonitor"), [[58], [63]], id="VOC's spelling for COCO"),
        pytest.param("Traffic_Light,hot-dog", COCO, ("Traffic_Light", "hot-dog"), [[10], [53]], id="case and hyphens"),
        pytest.param("horse+car=first,dog,", VOC, ("first", "dog"), [[13, 7], [12]], id="a comma too many"),
        pytest.param("lvs", VOC, ("bird", "bike", "auto", "dog", "horse", "person"), None, id="a preset leaves out"),
    ],
)
def test_text_becomes_classes(text, known, classes, rows) -> None:
    class_map = parse_classes(text, known)
    assert class_map.classes == ("background", *classes)
    if rows is not None:
        assert class_map.rows(known) == [[0], *rows]


def test_all_keeps_everything() -> None:
    class_map = parse_classes("all", VOC)
    assert class_map.classes == VOC
    assert (class_map.table(VOC)[:21] == np.arange(21)).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_name_classes_of_their_data_set_only(preset: str) -> None:
    assert parse_classes(PRESETS[preset], CITYSCAPES if preset == "camvid" else COCO).members[1:]


def test_lvs_merges_what_the_thesis_says() -> None:
    """Section 2.4.1: eight classes, of which only "auto" is a merge."""
    class_map = parse_classes("lvs", COCO)
    assert class_map.classes[1:] == ("bird", "bike", "auto", "dog", "elephant", "giraffe", "horse", "person")
    assert [group for group in class_map.members if len(group) > 1] == [("car", "bus", "truck")]


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        pytest.param("persn", ClassNameError, "did you mean 'person'", id="a typing error gets a suggestion"),
        pytest.param("motorcyle", ClassNameError, "did you mean 'motorcycle'", id="also in the other spelling"),
        pytest.param("giraffe", ClassNameError, "it knows aeroplane", id="nothing near lists what there is"),
        pytest.param("person,person", ConfigError, "'person' is named twice", id="twice as a class"),
        pytest.param("car+bus=a,car=b", ConfigError, "'car' is named twice", id="twice as a member"),
        pytest.param("car+bus", ConfigError, r"expected car\+bus=new", id="a merge without a name"),
        pytest.param("car+=auto", ConfigError, "a name is missing", id="an empty member"),
        pytest.param("car=", ConfigError, "a name is missing", id="an empty name"),
        pytest.param("car=background", ConfigError, "can be called 'background'", id="nothing becomes background"),
        pytest.param("background", ClassNameError, "background", id="background cannot be chosen"),
        pytest.param(" , ", ConfigError, "names no class", id="nothing at all"),
    ],
)
def test_mistakes_are_one_line(text, error, says) -> None:
    with pytest.raises(error, match=says) as caught:
        parse_classes(text, VOC)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_preset_of_which_the_teacher_knows_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match="names no class"):
        parse_classes("animals", ("background", "road"))


def test_a_map_for_another_teacher_says_which_class_it_lacks() -> None:
    with pytest.raises(ClassNameError, match="elephant"):
        parse_classes("elephant", COCO).rows(VOC)


def test_the_table_drops_merges_and_keeps_unknown() -> None:
    table = parse_classes("person,car+bus=auto", VOC).table(VOC)
    assert (table[15], table[7], table[6], table[0], table[12], table[255]) == (1, 2, 2, 0, 0, 255)


def test_a_selected_teacher_drops_boxes_that_hold_nothing_of_the_stream() -> None:
    labels = np.zeros((20, 30), np.int64)
    labels[2:8, 2:8], labels[10:18, 12:28], labels[19, 29] = 15, 7, 255
    boxes = np.float32([[2, 2, 8, 8], [12, 10, 28, 18], [29, 19, 30, 20], [3, 3, 3, 3]])
    teacher = CallableTeacher(lambda image: (labels, boxes), classes=VOC, name="two boxes")
    answer = SelectedTeacher(teacher, parse_classes("car", VOC))(np.zeros((20, 30, 3), np.uint8))
    assert np.array_equal(np.unique(answer.labels), [0, 1, 255])
    assert answer.boxes_xyxy is not None
    assert answer.boxes_xyxy.tolist() == [[12, 10, 28, 18]]


@pytest.mark.parametrize(("name", "num"), [("voc", 21), ("coco", 81), ("cityscapes", 20)])
def test_taxonomies_have_their_published_size(name: str, num: int) -> None:
    assert len(set(TAXONOMIES[name])) == num
    assert TAXONOMIES[name][0] == "background"
    assert CITYSCAPES[1] == "road"
