"""The stages of a task: decode, detect, crop, encode. Each takes bytes and returns bytes, usually fewer.

A payload is msgpack and says what it holds, so that any stage can be done on another machine than the one before:

- what the camera delivers: raw frames, 3 bytes a pixel (786,432 bytes of 512 x 512);
- after ``decode``: the frames as JPEG;
- after ``detect``: JPEG of the frames that have a face, and the boxes;
- after ``crop``: a small picture of each face;
- after ``encode``: a descriptor of 128 numbers of each face (histograms of oriented gradients, Dalal and Triggs, 2005).
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgpack
import numpy as np
from PIL import Image

from edge_rllib.testbed.errors import FrameError
from edge_rllib.testbed.vision.boxes import Box
from edge_rllib.testbed.vision.clips import Clip, make_clip
from edge_rllib.testbed.vision.detectors import detector
from edge_rllib.testbed.vision.images import Picture

CROP_PX = 64
DESCRIPTOR_NUMBERS = 128  # 4 x 4 cells of 8 directions
_CROP_QUALITY = 90
_WARM_UP_FRAMES = 2
_MOST_PIXELS = 4096 * 4096


class WorkSettings(NamedTuple):
    """What the stages need to know besides the payload."""

    jpeg_quality: int  # of frames, 1 to 95
    detector: str  # lbp or haar


class Found(NamedTuple):
    """One face at the end of all stages."""

    frame: int  # index in the clip
    box: Box
    descriptor: bytes  # float32 numbers


def decode(payload: bytes, settings: WorkSettings) -> bytes:
    """Read the camera's raw frames and return them as JPEG."""
    raw = _open(payload, "raw")
    side_px = _side(raw)
    frames = []
    for index, rows in enumerate(raw["frames"]):
        if len(rows) != 3 * side_px * side_px:
            raise FrameError(f"frame {index} has {len(rows)} bytes; expected 3 x {side_px} x {side_px}")
        picture = np.frombuffer(rows, np.uint8).reshape(side_px, side_px, 3)
        frames.append([index, _jpeg(picture, settings.jpeg_quality)])
    return _close("jpeg", frames=frames)


def detect(payload: bytes, settings: WorkSettings) -> bytes:
    """Find the faces of each frame; frames without any go no further."""
    find = detector(settings.detector).boxes
    frames = []
    for index, data in _open(payload, "jpeg")["frames"]:
        boxes = find(_picture(data))
        if boxes:
            frames.append([index, data, boxes])
    return _close("detected", frames=frames)


def crop(payload: bytes, settings: WorkSettings) -> bytes:
    """Cut the faces out and bring them to one size."""
    crops = []
    for index, data, boxes in _open(payload, "detected")["frames"]:
        picture = Image.fromarray(_picture(data))
        for left, top, width, height in boxes:
            face = picture.crop((left, top, left + width, top + height)).resize((CROP_PX, CROP_PX))
            crops.append([index, [left, top, width, height], _jpeg(np.asarray(face), _CROP_QUALITY)])
    return _close("crops", crops=crops)


def encode(payload: bytes, settings: WorkSettings) -> bytes:
    """Describe each face by 128 numbers."""
    from skimage.feature import hog

    found = []
    for index, box, data in _open(payload, "crops")["crops"]:
        grey = np.asarray(Image.fromarray(_picture(data)).convert("L"))
        numbers = hog(grey, orientations=8, pixels_per_cell=(CROP_PX // 4, CROP_PX // 4), cells_per_block=(1, 1))
        found.append([index, box, np.asarray(numbers, np.float32).tobytes()])
    return _close("descriptors", found=found)


STAGES: dict[str, Callable[[bytes, WorkSettings], bytes]] = {
    "decode": decode,
    "detect": detect,
    "crop": crop,
    "encode": encode,
}
STAGE_NAMES = tuple(STAGES)
N_STAGES = len(STAGES)


def run_stages(
    payload: bytes, first: int, last: int, settings: WorkSettings, after: Callable[[str, bytes], None] | None = None
) -> bytes:
    """Do the stages ``first`` to ``last - 1`` and return what comes out; ``after(name, payload)`` hears of each."""
    for name in STAGE_NAMES[first:last]:
        payload = STAGES[name](payload, settings)
        if after is not None:
            after(name, payload)
    return payload


def warm_up(settings: WorkSettings, side_px: int) -> tuple[float, list[float]]:
    """Load what the stages need; return the CPU time of a frame and its bytes before each stage.

    They are first guesses until tasks were measured.
    """
    payload = raw_payload(make_clip((0,), _WARM_UP_FRAMES, side_px, 1))
    run_stages(payload, 0, N_STAGES, settings)
    sizes = [len(payload)]
    start_s = time.thread_time()
    run_stages(payload, 0, N_STAGES, settings, lambda _, result: sizes.append(len(result)))
    return (time.thread_time() - start_s) / _WARM_UP_FRAMES, [size / _WARM_UP_FRAMES for size in sizes[:N_STAGES]]


def raw_payload(clip: Clip) -> bytes:
    """Return what the camera delivers of a clip."""
    return _close("raw", side_px=clip.frames[0].shape[0], frames=[frame.tobytes() for frame in clip.frames])


def found_faces(payload: bytes) -> list[Found]:
    """Return what the last stage found."""
    return [Found(int(index), Box(*box), data) for index, box, data in _open(payload, "descriptors")["found"]]


def boxes_by_frame(found: Sequence[Found], n_frames: int) -> list[list[Box]]:
    """Return the boxes of each frame."""
    boxes: list[list[Box]] = [[] for _ in range(n_frames)]
    for face in found:
        if not 0 <= face.frame < n_frames:
            raise FrameError(f"a face was found in frame {face.frame} of a clip of {n_frames}")
        boxes[face.frame].append(face.box)
    return boxes


def _open(payload: bytes, kind: str) -> Mapping[str, Any]:
    try:
        content = msgpack.unpackb(payload)
    except (ValueError, msgpack.UnpackException) as error:
        raise FrameError(f"a payload of {len(payload)} bytes is no msgpack: {error}") from error
    given = content.get("kind") if isinstance(content, dict) else type(content).__name__
    if given != kind:
        raise FrameError(f"expected a payload of kind {kind!r}, got {given!r}")
    return content


def _close(kind: str, **content: Any) -> bytes:
    packed: bytes = msgpack.packb({"kind": kind, **content})
    return packed


def _side(raw: Mapping[str, Any]) -> int:
    side_px = raw.get("side_px")
    if not isinstance(side_px, int) or not 0 < side_px * side_px <= _MOST_PIXELS:
        raise FrameError(f"side_px = {side_px!r}: expected a frame of 1 to {_MOST_PIXELS} pixels")
    return side_px


def _jpeg(picture: Picture, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _picture(data: bytes) -> Picture:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise FrameError(
                    f"a picture of {image.width} x {image.height} pixels; at most {_MOST_PIXELS} are allowed"
                )
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise FrameError(f"a picture of {len(data)} bytes is no JPEG: {error}") from error
