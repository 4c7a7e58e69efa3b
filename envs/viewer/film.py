"""A recording as an animated GIF; Pillow, which comes with matplotlib, writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from envs.errors import ConfigError
from envs.viewer.picture import HEIGHT, WIDTH, Picture
from envs.viewer.recording import FIRST_DROP, Frame, Recording
from envs.viewer.style import LIGHT, drop_colour

FRAME_MS = 80  # a GIF counts in hundredths of a second, and viewers slow down what is faster than 0.02 s
MOST_FRAMES = 2000
_SHADES = 8  # of each colour, on the way to that of the paper
STEP_SHOWN_S = 0.4  # of watching, for a step, unless a speed is given
FLASH_SHOWN_S = 0.7

Watch = Callable[[Iterable[Frame]], Iterable[Frame]]


def usual_speed(recording: Recording) -> float:
    """Return the simulated seconds a second of watching at which a step can be followed."""
    return max(recording.duration_s, 1e-9) / (max(recording.n_steps, 1) * STEP_SHOWN_S)


def frames(recording: Recording, speed: float, frames_per_s: float, most: int = MOST_FRAMES) -> list[Frame]:
    """Return the frames of watching a recording at a speed, the last instant included."""
    n_frames = max(round(recording.duration_s / speed * frames_per_s), 1)
    if n_frames > most:
        raise ConfigError(
            f"{recording.n_steps} steps at speed {speed:g} are {n_frames} frames; expected at most {most}: "
            "take fewer --steps or a higher --speed"
        )
    step_s = recording.duration_s / max(recording.n_steps, 1)
    instants = np.linspace(recording.step_s[0], recording.step_s[-1], n_frames + 1)
    return [recording.at(float(t), min(step_s, speed * STEP_SHOWN_S), speed * FLASH_SHOWN_S) for t in instants]


def save_gif(
    recording: Recording,
    path: Path,
    speed: float,
    watch: Watch = iter,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> int:
    """Write a recording as a GIF that repeats for ever; return the number of its frames.

    ``speed`` is in simulated seconds a second. ``watch`` may wrap the frames to show progress. The colours are those of
    one palette, undithered, which keeps the file small.
    """
    from PIL import Image

    picture, shown = Picture(recording, *size), frames(recording, speed, 1000.0 / FRAME_MS)
    palette = Image.new("P", (1, 1))
    palette.putpalette(_colours(len(recording.drop_reasons)))
    images = [
        Image.fromarray(picture.pixels(frame)).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in watch(shown)
    ]
    images[0].save(
        path, format="GIF", save_all=True, append_images=images[1:], duration=FRAME_MS, loop=0, optimize=True
    )
    return len(images)


def _colours(n_drop_reasons: int) -> list[int]:
    """Return the colours of the pictures with their shades, as red, green, blue, red, ...; at most 255 of them."""
    from matplotlib.colors import to_rgb

    theme = LIGHT
    kinds = (theme.upload, theme.result, theme.late, theme.decision, theme.busy, theme.link, *theme.levels)
    drops = [drop_colour(FIRST_DROP + reason) for reason in range(n_drop_reasons)]
    ramps = [(colour, theme.paper) for colour in dict.fromkeys((theme.ink, theme.faint, *kinds, *drops))]
    ramps += [(theme.ink, level) for level in theme.levels]
    share = np.arange(1, _SHADES + 1)[:, None] / _SHADES
    shades = [share * np.array(to_rgb(colour)) + (1.0 - share) * np.array(to_rgb(ground)) for colour, ground in ramps]
    table = np.unique(np.rint(255.0 * np.concatenate((*shades, [to_rgb(theme.paper)]))).astype(int), axis=0)
    return [int(part) for part in table[:255].ravel()]
