"""Pictures and faces that ship inside scikit-image: nothing is downloaded.

The faces are the first hundred of ``lfw_subset``, 25 x 25 pixels each, of Labeled Faces in the Wild (Huang et al.,
2007); the other hundred show no face.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_rllib.testbed.errors import SetupError

Picture = npt.NDArray[np.uint8]  # (height, width, 3), red, green, blue

# None of them makes the detector see a face where there is none.
BACKGROUNDS = ("coffee", "chelsea", "rocket", "immunohistochemistry", "hubble_deep_field", "retina")
_N_FACES = 100


def skimage_data() -> ModuleType:
    """Return ``skimage.data``, or raise SetupError with what to install."""
    try:
        from skimage import data
    except ImportError as error:
        raise SetupError(f"the testbed needs scikit-image ({error}): pip install 'edge-rllib[testbed]'") from error
    return data


@cache
def background(name: str) -> Picture:
    """Return a picture without faces."""
    return np.asarray(Image.fromarray(getattr(skimage_data(), name)()).convert("RGB"))


@cache
def faces() -> npt.NDArray[np.uint8]:
    """Return the faces, (100, 25, 25) grey."""
    return np.asarray(np.round(255.0 * skimage_data().lfw_subset()[:_N_FACES]), np.uint8)


def resized(picture: Picture, width_px: int, height_px: int) -> Picture:
    """Return a picture in another size, grey or coloured as it was."""
    return np.asarray(Image.fromarray(picture).resize((width_px, height_px), Image.Resampling.BICUBIC))
