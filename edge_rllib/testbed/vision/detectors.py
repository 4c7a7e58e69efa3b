"""What finds faces: the local binary pattern cascade of scikit-image, or a Haar cascade of OpenCV.

S. Liao et al., "Learning multi-scale block local binary patterns for face recognition", ICB 2007; P. Viola, M. Jones,
"Rapid object detection using a boosted cascade of simple features", CVPR 2001.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from edge_rllib.testbed.errors import SetupError
from edge_rllib.testbed.vision.boxes import Box
from edge_rllib.testbed.vision.clips import LEAST_FACE_FRAC, MOST_FACE_FRAC
from edge_rllib.testbed.vision.images import Picture, skimage_data
from envs.errors import UnknownName

SCALE_STEP = 1.2  # ratio of one size that is looked for to the next smaller
_NEIGHBOURS = 5  # overlapping finds that make a face, for Haar
_SLACK = 0.8  # faces a fifth smaller or larger than those that clips hold are looked for as well


class Detector(Protocol):
    """Finds faces in a picture."""

    def boxes(self, picture: Picture) -> list[Box]:
        """Return a box around each face."""


class LbpDetector:
    """scikit-image's cascade of local binary patterns; 50 ms of a core for 512 x 512 pixels."""

    def __init__(self) -> None:
        path = Path(skimage_data().lbp_frontal_face_cascade_filename())
        if not path.is_file():
            raise SetupError(f"the cascade {path} is missing; reinstall scikit-image, or choose the detector haar")
        from skimage.feature import Cascade

        self._cascade: Any = Cascade(str(path))

    def boxes(self, picture: Picture) -> list[Box]:
        """Return a box around each face; the sizes looked for are those that clips hold, a fifth more and less."""
        least, most = face_sizes(picture)
        found = self._cascade.detect_multi_scale(
            img=picture, scale_factor=SCALE_STEP, step_ratio=1, min_size=(least, least), max_size=(most, most)
        )
        return [Box(int(each["c"]), int(each["r"]), int(each["width"]), int(each["height"])) for each in found]


class HaarDetector:
    """OpenCV's frontal Haar cascade, as DC-DRL's testbed used it."""

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise SetupError(
                f"the detector haar needs OpenCV 4 ({error}): pip install 'edge-rllib[testbed-opencv]', or choose lbp"
            ) from error
        if not hasattr(cv2, "CascadeClassifier"):
            raise SetupError(
                f"OpenCV {cv2.__version__} has no CascadeClassifier, which left with OpenCV 5: "
                "pip install 'opencv-python-headless<5', or choose the detector lbp"
            )
        path = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
        if not path.is_file():
            raise SetupError(f"the cascade {path} is missing; reinstall opencv-python-headless<5, or choose lbp")
        cv2.setNumThreads(1)
        self._cascade: Any = cv2.CascadeClassifier(str(path))

    def boxes(self, picture: Picture) -> list[Box]:
        """Return a box around each face."""
        least, most = face_sizes(picture)
        grey = np.asarray(Image.fromarray(picture).convert("L"))
        found = self._cascade.detectMultiScale(
            grey, scaleFactor=SCALE_STEP, minNeighbors=_NEIGHBOURS, minSize=(least, least), maxSize=(most, most)
        )
        return [Box(*(int(value) for value in each)) for each in found]


DETECTORS: dict[str, type[LbpDetector] | type[HaarDetector]] = {"lbp": LbpDetector, "haar": HaarDetector}


@cache
def detector(name: str) -> Detector:
    """Return a detector by name; loads its cascade once a process."""
    if name not in DETECTORS:
        raise UnknownName("detector", name, DETECTORS)
    return DETECTORS[name]()


def face_sizes(picture: Picture) -> tuple[int, int]:
    """Return the least and the most pixels of a face's side that are looked for."""
    side_px = min(picture.shape[:2])
    return max(24, int(_SLACK * LEAST_FACE_FRAC * side_px)), int(MOST_FACE_FRAC * side_px / _SLACK)
