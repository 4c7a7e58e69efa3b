"""TensorBoard files of a run: scalars, histograms, figures and hyperparameters. The abscissa is environment steps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams as hparams_summaries

from envs.errors import EdgeError

FLUSH_S = 10.0  # at most this much of the curves is lost in a crash


class _Events:
    """Writes events in the thread that makes them.

    The thread of tensorboardX dies of a full disk, and the queue before it then blocks for ever.
    """

    def __init__(self, own: Any, folder: Path) -> None:
        """Take over the open file of tensorboardX's own writer ``own``, and stop its thread."""
        own._worker.stop()
        self._file, self._folder = own._ev_writer, folder
        self._flushed_s, self._is_closed = 0.0, False

    def add_event(self, event: Any) -> None:
        """Write an event."""
        with self._explained():
            self._file.write_event(event)
        if time.monotonic() - self._flushed_s > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Bring what was written to the disk; tensorboardX asks for it once more when Python ends."""
        if self._is_closed:
            return
        with self._explained():
            self._file.flush()
        self._flushed_s = time.monotonic()

    def close(self) -> None:
        """Write what is left and close the file, once."""
        if self._is_closed:
            return
        self._is_closed = True
        with self._explained():
            self._file.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EdgeError(f"{self._folder}: curves cannot be written: {error.strerror or error}") from error


class TensorBoard:
    """Writes one run's events into its result folder; a context manager that closes the file."""

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        """Open a file of events; those of an earlier attempt from ``first_step`` on are hidden."""
        self._writer = SummaryWriter(str(folder), purge_step=first_step or None)
        self._writer.file_writer.event_writer = _Events(self._writer.file_writer.event_writer, folder)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with contextlib.suppress(*([EdgeError] if kind else [])):  # the first error is the one to tell
            self.close()

    def close(self) -> None:
        """Write what is left and close the file."""
        self._writer.close()

    def scalars(self, values: Mapping[str, float], env_steps: int) -> None:
        """Write a value a tag."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, env_steps)

    def histogram(self, tag: str, values: Any, env_steps: int, edges: Any = None, max_bins: int = 64) -> None:
        """Write a distribution over bins with these edges; by default of whole numbers, in at most ``max_bins``."""
        data = np.asarray(values, np.float64).ravel()
        if not len(data):
            return
        if edges is None:
            top = max(float(data.max()), 1.0)
            edges = np.linspace(-0.5, top + 0.5, min(int(top) + 2, max_bins + 1))
        self._writer.add_histogram(tag, data, env_steps, bins=edges)

    def image(self, tag: str, pixels: Any, env_steps: int) -> None:
        """Write a picture (H, W, 3) of bytes."""
        self._writer.add_image(tag, np.asarray(pixels), env_steps, dataformats="HWC")

    def text(self, tag: str, text: str, env_steps: int = 0) -> None:
        """Write a text, set as code."""
        self._writer.add_text(tag, "\n".join(f"    {line}" for line in text.splitlines()), env_steps)

    def hparams(self, settings: Mapping[str, Any], figures: Mapping[str, float]) -> None:
        """Write the settings of the run beside the figures that judge it, for the hparams page."""
        plain = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in settings.items()
        }
        for summary in hparams_summaries(plain, dict(figures)):
            self._writer.file_writer.add_summary(summary)
        for tag, value in figures.items():
            self._writer.add_scalar(tag, value, 0)
