"""Clips by seed: a camera pans and zooms over a picture with faces at known places, in changing light, with noise.

The true boxes are known, so accuracy can be measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_rllib.testbed.vision.boxes import Box
from edge_rllib.testbed.vision.images import BACKGROUNDS, Picture, background, faces, resized

LEAST_FACE_FRAC, MOST_FACE_FRAC = 0.18, 0.35  # side of a face over side of a frame
_ZOOM = (0.6, 0.95)  # side of the visible part over the shorter side of the picture
_BRIGHTNESS = (0.75, 1.25)
_NOISE_SD = 3.0  # grey levels
_MARGIN_PX = 2  # between faces
_PLACE_TRIES = 60
_TASK_STREAM = 1  # of the random numbers of a device: 0 is for the clips themselves
_NO_FACE_PROB = 0.2  # of a frame: its payload falls to nothing after detection


@dataclass(frozen=True)
class Clip:
    """Some frames of a camera, and what is in them."""

    frames: tuple[Picture, ...]  # square, all of one size
    true_boxes: tuple[tuple[Box, ...], ...]  # of each frame


def make_clip(seed: tuple[int, ...], n_frames: int, side_px: int, most_faces: int) -> Clip:
    """Return a clip that is the same for the same arguments.

    A frame has no face with a probability of 0.2, else 1 to ``most_faces``; they move with the camera.
    """
    rng = np.random.default_rng(seed)
    scene = background(BACKGROUNDS[rng.integers(len(BACKGROUNDS))])
    zoom, brightness = rng.uniform(*_ZOOM, 2), rng.uniform(*_BRIGHTNESS, 2)
    place = rng.uniform(0.0, 1.0, (2, 2))
    frames, boxes = [], []
    for share in np.linspace(0.0, 1.0, n_frames):
        view = _view(scene, (1 - share) * zoom[0] + share * zoom[1], (1 - share) * place[0] + share * place[1])
        frame = resized(view, side_px, side_px).astype(np.float64)
        n_faces = 0 if rng.random() < _NO_FACE_PROB else int(rng.integers(min(1, most_faces), most_faces + 1))
        boxes.append(_paste_faces(frame, n_faces, rng))
        frame = frame * ((1 - share) * brightness[0] + share * brightness[1])
        frame += rng.normal(0.0, _NOISE_SD, frame.shape)
        frames.append(np.asarray(np.clip(np.round(frame), 0, 255), np.uint8))
    return Clip(tuple(frames), tuple(boxes))


def draw_clip(seed: int, device: int, epoch: int, n_clips: int, frames: Sequence[int]) -> tuple[int, int]:
    """Return which of its clips a device films in an epoch, and how many of its frames it takes, from (least, most)."""
    rng = np.random.default_rng((seed, device, _TASK_STREAM, epoch))
    number = int(rng.integers(n_clips))
    return number, int(rng.integers(frames[0], frames[1] + 1))


def _view(scene: Picture, zoom: float, place: np.ndarray) -> Picture:
    """Return the square part of a picture that the camera sees; ``place`` is within [0, 1] x [0, 1]."""
    height, width = scene.shape[:2]
    side = int(zoom * min(height, width))
    top, left = int(place[0] * (height - side)), int(place[1] * (width - side))
    return scene[top : top + side, left : left + side]


def _paste_faces(frame: np.ndarray, n_faces: int, rng: np.random.Generator) -> tuple[Box, ...]:
    """Put faces into a frame where they do not overlap, and return where; fewer if there is no room."""
    side_px = frame.shape[0]
    placed: list[Box] = []
    for _ in range(_PLACE_TRIES):
        if len(placed) == n_faces:
            break
        face_px = int(side_px * rng.uniform(LEAST_FACE_FRAC, MOST_FACE_FRAC))
        left, top = (int(value) for value in rng.integers(0, side_px - face_px + 1, 2))
        box = Box(left, top, face_px, face_px)
        if any(_touch(box, other) for other in placed):
            continue
        face = faces()[rng.integers(len(faces()))]
        frame[top : top + face_px, left : left + face_px] = resized(face, face_px, face_px)[..., None]
        placed.append(box)
    return tuple(placed)


def _touch(a: Box, b: Box) -> bool:
    return (
        a.left_px < b.left_px + b.width_px + _MARGIN_PX
        and b.left_px < a.left_px + a.width_px + _MARGIN_PX
        and a.top_px < b.top_px + b.height_px + _MARGIN_PX
        and b.top_px < a.top_px + a.height_px + _MARGIN_PX
    )
