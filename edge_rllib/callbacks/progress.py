"""Progress on the terminal: a bar with speed, return and time left; without a terminal, a line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0  # between two lines where there is no terminal


class ProgressReport:
    """Tells how far a run is; a context manager."""

    def __init__(
        self, name: str, total_env_steps: int, done_env_steps: int = 0, console: Console | None = None
    ) -> None:
        """Begin at ``done_env_steps``, which a resumed run has behind it."""
        self.console = console or Console(stderr=True)
        self._name, self._total, self._first = name, total_env_steps, done_env_steps
        self._begin = self._last_line = time.monotonic()
        self._is_first = True
        self._values: dict[str, float] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=total_env_steps, completed=done_env_steps, facts="")

    def __enter__(self) -> ProgressReport:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Show a new state; ``values`` are tags of ``scalars``."""
        self._values = {**self._values, **values}  # episodes end only every few iterations
        facts = _facts(self._values)
        if self._is_first:  # the first iteration compiles kernels and says nothing about the speed
            self._is_first, self._first, self._begin = False, env_steps, time.monotonic()
        self._bar.update(self._task, completed=env_steps, facts=facts)
        now = time.monotonic()
        if not self.console.is_terminal and (now - self._last_line >= LINE_EVERY_S or env_steps >= self._total):
            self._last_line = now
            left_s = (now - self._begin) * max(self._total - env_steps, 0) / max(env_steps - self._first, 1)
            share = env_steps / self._total
            self.console.print(
                f"{self._name}: {share:4.0%}  {facts}  left {left_s:.0f} s", highlight=False, soft_wrap=True
            )

    def note(self, text: str) -> None:
        """Say something above the bar."""
        self.console.print(text, highlight=False, soft_wrap=True)


def _facts(values: Mapping[str, float]) -> str:
    shown = []
    for tag, form in (
        ("speed/agent_steps_per_s", "{:,.0f} agent-steps/s"),
        ("return/mean", "return {:.4g}"),
        ("response_time_s/mean", "response {:.3g} s"),
        ("tasks/in_time_frac", "in time {:.1%}"),
    ):
        if tag in values:
            shown.append(form.format(values[tag]))
    return "  ".join(shown)
