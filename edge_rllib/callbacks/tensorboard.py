"""TensorBoard files of a run: scalars, histograms, figures and hyperparameters. The abscissa is environment steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams as hparams_summaries


class TensorBoard:
    """Writes one run's events into its result folder; a context manager that closes the file."""

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        """Open a file of events; those of an earlier attempt from ``first_step`` on are hidden."""
        self._writer = SummaryWriter(str(folder), purge_step=first_step or None, flush_secs=10)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left and close the file."""
        self._writer.close()

    def scalars(self, values: Mapping[str, float], env_steps: int) -> None:
        """Write a value a tag."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, env_steps)

    def histogram(self, tag: str, values: Any, env_steps: int, max_bins: int = 64) -> None:
        """Write the distribution of whole numbers, one bin each, or of at most ``max_bins``."""
        data = np.asarray(values, np.float64).ravel()
        if not len(data):
            return
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
