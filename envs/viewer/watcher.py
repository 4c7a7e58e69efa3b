"""The worlds of an adapter as they are being played: each as a picture, as text, or in a window."""

from __future__ import annotations

from typing import Any

from envs.arrays import F8, I8
from envs.errors import ConfigError
from envs.viewer.picture import HEIGHT, WIDTH, Picture
from envs.viewer.recorder import new_recorder
from envs.viewer.recording import Frame, Recording
from envs.viewer.text import TABLE_WIDTH, Screen
from envs.world import World

_KEPT_STEPS = 3  # what ended fades over so many
_TITLE = "edge-rllib"


class Watcher:
    """Follows every world of a batch; ``see`` comes after each step."""

    def __init__(self, world: World) -> None:
        """Begin before the first step of an episode; raise ConfigError for a world without nodes."""
        self._recorders = [new_recorder(world, b, keep_steps=_KEPT_STEPS) for b in range(world.spec.n_worlds)]
        self._ended: list[Recording | None] = [None] * len(self._recorders)
        self._picture: Picture | None = None

    def begin(self) -> None:
        """Forget everything: all worlds are at the beginning of an episode."""
        for b, recorder in enumerate(self._recorders):
            recorder.begin()
            self._ended[b] = None

    def see(self, decision: I8) -> None:
        """Take in a step; a world that ended goes on to be shown as it was before its last step, until the next."""
        for b, recorder in enumerate(self._recorders):
            self._ended[b] = None
            if not recorder.see(decision):
                self._ended[b] = recorder.recording()
                recorder.begin()

    def pixels(self, b: int) -> Any:
        """Return a world as a picture, (H, W, 3) bytes."""
        recording, frame = self._frame(b)
        if self._picture is None:
            self._picture = Picture(recording)
        return self._picture.pixels(frame)

    def text(self, b: int, rewards: F8) -> str:
        """Return a world as a table of its nodes, with the agents' rewards (N,) of the last step."""
        recording, frame = self._frame(b)
        screen = Screen(recording, TABLE_WIDTH, recording.topology.n_nodes + 8)
        return screen.plain(frame, rewards)

    def _frame(self, b: int) -> tuple[Recording, Frame]:
        recording = self._ended[b] or self._recorders[b].recording()
        step_s, now_s = recording.step_s, float(recording.step_s[-1])
        last_s = now_s - float(step_s[-2]) if len(step_s) > 1 else 0.0
        shown = 1.0 + 1e-9  # what happened at the very beginning of the step is shown, too
        return recording, recording.at(now_s, shown * last_s, shown * (now_s - float(step_s[0])))


class Window:
    """A window of matplotlib that shows pictures one after the other."""

    def __init__(self, frames_per_s: float) -> None:
        """Open the window; raise ConfigError where there is no display, or nothing that could open a window on it."""
        import matplotlib
        from matplotlib import pyplot
        from matplotlib.backends import BackendFilter, backend_registry

        backend = pyplot.get_backend()  # chosen by what there is, unless MPLBACKEND or a setting says otherwise
        if backend.lower() not in backend_registry.list_builtin(BackendFilter.INTERACTIVE):
            raise ConfigError(
                f"render_mode = 'human': matplotlib {matplotlib.__version__} has no window here (backend {backend!r}: "
                "no display, or neither Tk nor Qt is installed); use 'rgb_array' or 'ansi'"
            )
        self._wait_s = 1.0 / frames_per_s
        figure = pyplot.figure(_TITLE, (WIDTH / 100.0, HEIGHT / 100.0), dpi=100)
        figure.clear()
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        self._figure, self._axes = figure, axes
        self._image: Any = None

    def show(self, pixels: Any) -> None:
        """Show a picture (H, W, 3) for the time of a frame; a window that was closed stays closed."""
        from matplotlib import pyplot

        if not pyplot.fignum_exists(self._figure.number):
            return
        if self._image is None:
            self._image = self._axes.imshow(pixels)
            self._figure.show()
        self._image.set_data(pixels)
        self._figure.canvas.draw_idle()
        self._figure.canvas.start_event_loop(self._wait_s)

    def close(self) -> None:
        """Close the window."""
        from matplotlib import pyplot

        pyplot.close(self._figure)
