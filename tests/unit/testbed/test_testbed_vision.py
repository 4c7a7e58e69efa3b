"""Clips are known, stages are pure and their payload falls, and faces are found where they were put."""

from __future__ import annotations

import sys
import types

import msgpack
import numpy as np
import pytest

from edge_rllib.testbed.errors import FrameError, SetupError
from edge_rllib.testbed.vision import detectors, images
from edge_rllib.testbed.vision.boxes import Box, Matches, iou, match
from edge_rllib.testbed.vision.clips import Clip, make_clip
from edge_rllib.testbed.vision.stages import (
    N_STAGES,
    STAGES,
    WorkSettings,
    boxes_by_frame,
    found_faces,
    raw_payload,
    run_stages,
)
from envs.errors import UnknownName

SIDE_PX, N_FRAMES = 192, 4
WORK = WorkSettings(jpeg_quality=80, detector="lbp")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return make_clip((1, 2), N_FRAMES, SIDE_PX, most_faces=2)


@pytest.fixture(scope="module")
def payloads(clip: Clip) -> list[bytes]:
    """Return what the camera delivers, and what each stage returns."""
    found = [raw_payload(clip)]
    for stage in STAGES.values():
        found.append(stage(found[-1], WORK))
    return found


def test_agreement_of_boxes_is_shared_area_over_covered_area() -> None:
    # 10 x 10 and 10 x 10, moved by (5, 5): 25 shared of 175 covered
    assert iou(Box(0, 0, 10, 10), Box(5, 5, 10, 10)) == pytest.approx(25 / 175)
    assert iou(Box(0, 0, 10, 10), Box(10, 0, 10, 10)) == 0.0
    assert iou(Box(3, 4, 5, 6), Box(3, 4, 5, 6)) == 1.0


def test_each_face_is_matched_once_and_best_first() -> None:
    true = [Box(0, 0, 10, 10), Box(100, 0, 10, 10)]
    found = [Box(1, 0, 10, 10), Box(0, 0, 10, 10), Box(50, 50, 10, 10)]  # two on the first face, one on none

    assert match(found, true) == Matches(hits=1, misses=1, false_alarms=2)


def test_precision_and_recall_by_hand() -> None:
    counts = Matches(hits=6, misses=2, false_alarms=4)

    assert counts.precision == pytest.approx(0.6)
    assert counts.recall == pytest.approx(0.75)
    assert np.isnan(Matches(0, 0, 0).precision)


def test_clip_is_a_function_of_its_seed(clip: Clip) -> None:
    again, other = (make_clip(seed, N_FRAMES, SIDE_PX, 2) for seed in ((1, 2), (1, 3)))

    assert all(np.array_equal(a, b) for a, b in zip(clip.frames, again.frames, strict=True))
    assert clip.true_boxes == again.true_boxes
    assert clip.true_boxes != other.true_boxes


def test_faces_stand_inside_their_frame_and_apart(clip: Clip) -> None:
    boxes = [box for frame in clip.true_boxes for box in frame]
    assert boxes
    for box in boxes:
        assert 0 <= box.left_px <= SIDE_PX - box.width_px
        assert 0 <= box.top_px <= SIDE_PX - box.height_px
    for frame in clip.true_boxes:
        assert all(iou(a, b) == 0.0 for a in frame for b in frame if a is not b)


def test_clip_may_be_without_faces() -> None:
    assert make_clip((1,), 3, 64, most_faces=0).true_boxes == ((), (), ())


def test_payload_falls_from_stage_to_stage(payloads: list[bytes]) -> None:
    raw_bytes = N_FRAMES * 3 * SIDE_PX * SIDE_PX
    sizes = [len(payload) for payload in payloads]

    assert raw_bytes <= sizes[0] < raw_bytes + 200
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < sizes[0] / 5
    assert sizes[-1] < sizes[0] / 50


@pytest.mark.parametrize("cut", range(N_STAGES + 1))
def test_task_may_be_cut_after_any_stage(payloads: list[bytes], cut: int) -> None:
    names: list[str] = []

    first = run_stages(payloads[0], 0, cut, WORK, lambda name, _: names.append(name))
    second = run_stages(first, cut, N_STAGES, WORK, lambda name, _: names.append(name))

    assert first == payloads[cut]
    assert second == payloads[-1]
    assert names == ["decode", "detect", "crop", "encode"]


def test_most_faces_are_found_and_nothing_else() -> None:
    total = Matches(0, 0, 0)
    for seed in range(3):
        clip = make_clip((seed,), N_FRAMES, 256, most_faces=2)
        found = found_faces(run_stages(raw_payload(clip), 0, N_STAGES, WORK))
        for boxes, true in zip(boxes_by_frame(found, N_FRAMES), clip.true_boxes, strict=True):
            total = Matches(*(a + b for a, b in zip(total, match(boxes, true), strict=True)))

    assert total.hits + total.misses > 5
    assert total.recall > 0.7
    assert total.precision > 0.8


def test_descriptor_tells_two_faces_apart(payloads: list[bytes]) -> None:
    found = found_faces(payloads[-1])
    numbers = [np.frombuffer(face.descriptor, np.float32) for face in found]

    assert len(numbers) > 1
    assert all(vector.shape == (128,) for vector in numbers)
    assert not np.allclose(numbers[0], numbers[1])


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\xc1", "no msgpack"),
        (msgpack.packb([1]), "expected a payload of kind 'raw', got 'list'"),
        (msgpack.packb({"kind": "jpeg", "frames": []}), "expected a payload of kind 'raw', got 'jpeg'"),
        (msgpack.packb({"kind": "raw", "side_px": 2, "frames": [b"123"]}), "frame 0 has 3 bytes"),
        (msgpack.packb({"kind": "raw", "side_px": 10**6, "frames": []}), "side_px = 1000000"),
        (msgpack.packb({"kind": "raw", "side_px": "2", "frames": []}), "side_px = '2'"),
    ],
)
def test_payload_that_is_none_is_refused(payload: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        STAGES["decode"](payload, WORK)


def test_picture_that_is_no_jpeg_is_refused() -> None:
    payload = msgpack.packb({"kind": "jpeg", "frames": [[0, b"no picture"]]})

    with pytest.raises(FrameError, match="a picture of 10 bytes is no JPEG"):
        STAGES["detect"](payload, WORK)


def test_face_in_a_frame_that_is_not_there_is_refused() -> None:
    found = found_faces(msgpack.packb({"kind": "descriptors", "found": [[4, [0, 0, 1, 1], b""]]}))

    with pytest.raises(FrameError, match="frame 4 of a clip of 4"):
        boxes_by_frame(found, N_FRAMES)


def test_unknown_detector_is_refused_with_the_near_name() -> None:
    with pytest.raises(UnknownName, match="did you mean 'lbp'"):
        detectors.detector("lpb")


def test_missing_scikit_image_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)

    with pytest.raises(SetupError, match=r"pip install 'edge-rllib\[testbed\]'"):
        images.skimage_data()


def test_missing_cascade_file_is_said_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    data = types.SimpleNamespace(lbp_frontal_face_cascade_filename=lambda: "nowhere/cascade.xml")
    monkeypatch.setattr(detectors, "skimage_data", lambda: data)

    with pytest.raises(SetupError, match=r"the cascade nowhere/cascade\.xml is missing"):
        detectors.LbpDetector()


def test_missing_opencv_is_said_with_the_remedy_and_the_alternative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)

    with pytest.raises(SetupError, match=r"pip install 'edge-rllib\[testbed-opencv\]', or choose lbp"):
        detectors.HaarDetector()


def test_opencv_without_cascades_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(__version__="5.0.0"))

    with pytest.raises(SetupError, match=r"OpenCV 5\.0\.0 has no CascadeClassifier"):
        detectors.HaarDetector()


def test_haar_cascade_finds_faces_where_opencv_is_installed() -> None:
    pytest.importorskip("cv2", reason="the extra testbed-opencv is not installed")
    clip = make_clip((1,), 2, 256, most_faces=1)

    found = found_faces(run_stages(raw_payload(clip), 0, N_STAGES, WORK._replace(detector="haar")))

    assert len(found) >= 1
