"""Data sets in the layouts in which they are published, on tiny files."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from narrowcast.core.errors import NarrowcastError, SourceError
from narrowcast.core.files import write_bytes
from narrowcast.data.tags import no_tags
from narrowcast.stream.data_sets import open_clips
from narrowcast.stream.labelling import find_images, read_note
from narrowcast.stream.lvs import read_detections
from narrowcast.stream.pretrain import collect
from narrowcast.stream.street import lay_out_cityscapes
from narrowcast.video.labels import write_label_png


def write_image(path: Path, pixels: np.ndarray) -> None:
    write_bytes(path, cv2.imencode(path.suffix, pixels)[1].tobytes())


def write_pairs(images: Path, labels: Path, names: list[str], value: int) -> None:
    for name in names:
        write_image(images / f"{name}.jpg", np.full((6, 8, 3), 90, np.uint8))
        mask = np.zeros((6, 8), np.uint8)
        mask[2:4, 2:6] = value
        write_image(labels / f"{name}.png", mask)


def truths(spec: str) -> dict[str, list[np.ndarray]]:
    found = {}
    for clip in open_clips([spec]):
        assert clip.truth is not None
        with clip.open() as frames:
            found[clip.name] = [clip.truth(frame.image_rgb, frame_index=frame.index).labels for frame in frames]
    return found


@pytest.mark.parametrize("resolution", ["", "480p/"])
def test_davis(tmp_path: Path, resolution: str) -> None:
    for name in ("dog", "camel"):
        folders = (tmp_path / kind / resolution / name for kind in ("JPEGImages", "Annotations"))
        write_pairs(*folders, ["00000", "00001"], 255)
    found = truths(f"davis:{tmp_path}")
    assert {name: [int(labels.max()) for labels in each] for name, each in found.items()} == {
        "camel": [1, 1],
        "dog": [1, 1],
    }
    dog, camel = (open_clips([f"davis:{tmp_path}#{name}"])[0] for name in ("dog", "camel"))
    assert (dog.classes, camel.classes) == ("dog=object", None)


def write_davis2017(folder: Path, masks: dict[str, list[np.ndarray]]) -> None:
    for name, each in masks.items():
        for index, mask in enumerate(each):
            image = np.full((*mask.shape, 3), 90, np.uint8)
            write_image(folder / "JPEGImages" / "480p" / name / f"{index:05}.jpg", image)
            write_label_png(folder / "Annotations" / "480p" / name / f"{index:05}.png", mask)


def test_davis_2017_has_a_class_for_each_object_of_the_first_mask(tmp_path: Path) -> None:
    first, later = np.zeros((2, 6, 8), np.uint8)
    first[:, :3], first[:, 5:] = 1, 2
    later[:, :2], later[:, 4:6], later[:, 6:] = 1, 3, 2  # a third object comes: it was not asked for
    write_davis2017(tmp_path, {"two": [first, later], "one": [first.clip(max=1)], "train": [first]})
    assert {name: len(each) for name, each in truths(f"davis2017:{tmp_path}").items()} == {
        "one": 1,
        "train": 1,
        "two": 2,
    }
    (tmp_path / "ImageSets/2017").mkdir(parents=True)
    (tmp_path / "ImageSets/2017/val.txt").write_text("one\ntwo\n")
    found = truths(f"davis2017:{tmp_path}")
    assert sorted(found) == ["one", "two"]
    assert found["two"][0].tolist() == first.tolist()
    assert np.unique(found["two"][1]).tolist() == [0, 1, 2]
    (two,) = open_clips([f"davis2017:{tmp_path}#two"])
    assert two.truth is not None
    assert two.truth.classes == ("background", "object-1", "object-2")


@pytest.mark.parametrize("are_train_ids", [True, False], ids=["trainIds", "labelIds"])
@pytest.mark.parametrize("is_sequence", [True, False], ids=["sequences", "single"])
def test_cityscapes(tmp_path: Path, *, are_train_ids: bool, is_sequence: bool) -> None:
    images = tmp_path / ("leftImg8bit_sequence" if is_sequence else "leftImg8bit") / "val" / "lindau"
    labelled = "lindau_000003_000019"
    for name in ("lindau_000003_000018", labelled) if is_sequence else (labelled,):
        write_image(images / f"{name}_leftImg8bit.png", np.full((4, 8, 3), 90, np.uint8))
    ids = np.full((4, 8), 255 if are_train_ids else 4, np.uint8)  # void: "static"
    ids[:, 0], ids[:, 1] = (0, 18) if are_train_ids else (7, 33)  # road, bicycle
    ending = "labelTrainIds" if are_train_ids else "labelIds"
    write_image(tmp_path / "gtFine" / "val" / "lindau" / f"{labelled}_gtFine_{ending}.png", ids)
    found = truths(f"cityscapes:{tmp_path}")["lindau"]
    assert len(found) == 1 + is_sequence
    assert (found[0] == 255).all() == is_sequence  # a frame between two labelled ones
    assert found[-1][0].tolist() == [1, 19, *[255] * 6]
    (clip,) = open_clips([f"cityscapes:{tmp_path}"])
    assert clip.truth is not None
    assert (clip.truth.classes[1], clip.truth.classes[19], clip.fps) == ("road", "bicycle", 17)


def test_cityscapes_is_laid_out_for_pretraining(tmp_path: Path) -> None:
    """As section 2.4.9 trains a student on its own: `stream pretrain --images leftImg8bit/train` without a teacher."""
    images = tmp_path / "leftImg8bit" / "train"
    write_image(images / "ulm" / "ulm_000000_000019_leftImg8bit.png", np.full((4, 8, 3), 90, np.uint8))
    write_image(images / "ulm" / "ulm_000001_000019_leftImg8bit.png", np.full((4, 8, 3), 90, np.uint8))
    write_image(
        tmp_path / "gtFine" / "train" / "ulm" / "ulm_000000_000019_gtFine_labelIds.png", np.full((4, 8), 26, np.uint8)
    )
    labels = tmp_path / "labels"
    assert [path.name for path in lay_out_cityscapes(tmp_path, labels)] == ["ulm_000000_000019_leftImg8bit.png.png"]
    name, classes = read_note(labels)
    (still,) = collect(find_images([images]), labels, no_tags(classes))
    assert (name, classes[14]) == ("cityscapes", "car")
    assert (still.read()[1] == 14).all()


def test_camvid(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "labels", ["0001TP_008550", "0001TP_008580"], 8)
    write_pairs(tmp_path / "images", tmp_path / "labels", ["Seq05VD_f00000"], 11)
    found = truths(f"camvid:{tmp_path}")
    assert {name: len(each) for name, each in found.items()} == {"0001TP": 2, "Seq05VD": 1}
    truth = open_clips([f"camvid:{tmp_path}#0001TP"])[0].truth
    assert truth is not None
    names = [truth.classes[label] for label in np.unique(found["0001TP"][0])]
    assert names == ["sky", "car"]
    assert np.unique(found["Seq05VD"][0]).tolist() == [1, 255]


def test_a_folder_of_frames_and_labels(tmp_path: Path) -> None:
    write_pairs(tmp_path / "mine/images", tmp_path / "mine/labels", ["f9", "f10", "f11"], 1)
    (tmp_path / "mine/labels/f10.png").unlink()
    (tmp_path / "mine/labels/classes.txt").write_text("background\ncat\n")
    found = truths(f"frames:{tmp_path / 'mine'}")["mine"]
    assert [int(labels.min()) for labels in found] == [0, 255, 0]
    write_pairs(tmp_path / "mine/images", tmp_path / "mine/labels", ["f9"], 7)
    with pytest.raises(SourceError, match="holds the label 7"):
        truths(f"frames:{tmp_path / 'mine'}")


def write_lvs(folder: Path) -> Path:
    """Two frames of a stream: a person in the left half, a dog that is not sure."""
    masks = np.ones((2, 4, 4), np.float32)
    boxes = np.array([[0, 0, 1, 0.5], [0, 0.5, 1, 1]], np.float32)
    found = {frame: (boxes, np.array([1, 17]), np.array([0.9, 0.3 + 0.4 * frame]), masks) for frame in range(2)}
    path = folder / "dogs2" / "detectron_large_mask_rcnn_1_dogs2_000.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.array(found, object), allow_pickle=True)
    path.with_name("dogs2_000.mp4").write_bytes(b"a video")
    return path


def test_long_video_streams(tmp_path: Path) -> None:
    write_lvs(tmp_path)
    (clip,) = open_clips([f"lvs:{tmp_path}"])
    assert (clip.name, clip.classes) == ("dogs2_000", "person,dog,car+bus+truck=auto")
    assert clip.truth is not None
    image = np.zeros((8, 8, 3), np.uint8)
    first, second = (clip.truth(image, frame_index=frame) for frame in range(2))
    assert [clip.truth.classes[label] for label in (first.labels[0, 0], first.labels[0, 7])] == ["person", "background"]
    assert clip.truth.classes[second.labels[0, 7]] == "dog"
    assert second.boxes_xyxy is not None
    assert sorted(second.boxes_xyxy.tolist()) == [[0, 0, 4, 8], [4, 0, 8, 8]]
    with pytest.raises(SourceError, match="no predictions of frame 9"):
        clip.truth(image, frame_index=9)


def test_a_file_of_predictions_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    path = tmp_path / "evil.npy"
    np.save(path, np.array({0: Evil()}, object), allow_pickle=True)
    with pytest.raises(SourceError, match=r"holds builtins\.print, which is no array"):
        read_detections(path)
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(SourceError, match="not a file of predictions"):
        read_detections(path)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    write_pairs(tmp_path / "images", tmp_path / "labels", ["a_1"], 0)
    for spec, says in (
        (f"davis:{tmp_path}", "JPEGImages: no such folder"),
        (f"davis2017:{tmp_path}", "JPEGImages: no such folder"),
        (f"cityscapes:{tmp_path}", "leftImg8bit/val: no such folder"),
        (f"lvs:{tmp_path}", "no STREAM/NAME.mp4"),
        (f"camvid:{tmp_path}#b", "expected one of a"),
        ("camvid:nowhere", "no such folder: nowhere"),
    ):
        with pytest.raises(NarrowcastError, match=says):
            open_clips([spec])
    with pytest.raises(NarrowcastError, match="two streams are called 'a'"):
        open_clips([f"camvid:{tmp_path}", "other/a.mp4"])


def test_a_list_gives_each_stream_its_classes(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "streams.toml").write_text(
        '[[stream]]\nsource = "a.mp4"\nclasses = "bird+cat=creature"\nname = "cockatoo"\n'
        '[[stream]]\nsource = "rtsp://127.0.0.1/b"\n',
        encoding="utf-8",
    )
    first, second = open_clips([f"list:{tmp_path}/streams.toml"])
    assert (first.name, first.classes, first.spec) == ("cockatoo", "bird+cat=creature", str(tmp_path / "a.mp4"))
    assert (second.classes, second.spec) == (None, "rtsp://127.0.0.1/b")
    assert open_clips([f"list:{tmp_path}/streams.toml#cockatoo"]) == [first]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "tables and nothing else"),
        ('stream = "a.mp4"', "tables and nothing else"),
        ('[[stream]]\nsource = "gone.mp4"', "gone.mp4: no such file"),
        ('[[stream]]\nsorce = "gone.mp4"', "did you mean 'source'"),
        ('[[stream]]\nsource = "/"\nname = "a/b"', "letters, digits"),
    ],
)
def test_a_list_that_is_wrong_says_where(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "streams.toml").write_text(text, encoding="utf-8")
    with pytest.raises(NarrowcastError, match=error) as raised:
        open_clips([f"list:{tmp_path}/streams.toml"])
    assert "streams.toml" in str(raised.value)
