"""A run from its settings to its result: build, train, watch, save, judge.

RLlib's Algorithm is trained in this process and not by Tune: a trial of Tune is one more process with its own slot,
takes some ten seconds to start, and cannot be interrupted and resumed at an iteration from the terminal. Searches,
which have many trials, go through Tune (``tuning.py``); both write the same names.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_rllib.callbacks.progress import ProgressReport
from edge_rllib.callbacks.scalars import scalars, world_tag
from edge_rllib.callbacks.tensorboard import TensorBoard
from edge_rllib.config.load import load_run
from edge_rllib.config.schema import RunConfig
from edge_rllib.config.tree import Overrides, nested
from edge_rllib.experiment import checkpoints
from edge_rllib.experiment.build import build, n_slots, start_ray, write_settings
from edge_rllib.experiment.evaluation import evaluate, judging_sign
from edge_rllib.experiment.watch import Watch
from edge_rllib.results import files
from envs.errors import ConfigError, EdgeError

log = logging.getLogger(__name__)

RESUMABLE = ("total_env_steps", "results")  # settings that may change when a run goes on
MAX_IDLE_S = 300.0  # a run whose env runners deliver nothing for so long has failed


@dataclass(frozen=True)
class Finished:
    """What a run left behind."""

    folder: Path
    is_interrupted: bool
    comparison: dict[str, Any] | None


def train(run: RunConfig, folder: Path | None = None, console: Any = None) -> Finished:
    """Train a run in a new result folder and judge it; Ctrl-C saves and returns."""
    judging_sign(run)  # refuse what could not be judged before anything is made
    with _ray(run):
        algorithm = build(run)
        try:
            target = folder or files.fresh_folder(Path(run.results), run.name)
            write_settings(run, target)
            state = {"iteration": 0, "env_steps": 0, "wall_s": 0.0, "best": None}
            return _go_on(run, algorithm, target.resolve(), state, console)
        finally:
            algorithm.stop()


def resume(folder: Path, overrides: Overrides = (), console: Any = None) -> Finished:
    """Continue a run from its newest checkpoint: the same worlds, weights and random numbers as if it never stopped."""
    folder = files.result_folder(folder)
    for key in nested(overrides):
        if key not in RESUMABLE:
            raise ConfigError(f"override {key!r}: a resumed run keeps its settings; only {RESUMABLE[0]} may change")
    run = load_run(str(folder / files.CONFIG), overrides)
    path = checkpoints.latest(folder)
    checkpoints.load_state(path)
    with _ray(run):
        algorithm = build(run, is_new=False)
        try:
            state = checkpoints.restore(algorithm, path)
            files.keep_rows(folder, state["iteration"])
            return _go_on(run, algorithm, folder, state, console)
        finally:
            algorithm.stop()


def _go_on(run: RunConfig, algorithm: Any, folder: Path, state: dict[str, Any], console: Any) -> Finished:
    with (
        TensorBoard(folder, first_step=state["env_steps"] + 1 if state["iteration"] else 0) as board,
        ProgressReport(run.name, run.total_env_steps, state["env_steps"], console) as report,
        _interrupts(report.note) as is_interrupted,
        _told_in_status(folder, state),
    ):
        report.note(f"results: {folder}")
        fitted = _Fit(run, algorithm, folder, state, board, report)
        if not state["iteration"]:
            board.text("run/config", (folder / files.CONFIG).read_text(encoding="utf-8"))
        fitted.loop(is_interrupted)
        if is_interrupted():
            fitted.set_status("interrupted")
            return Finished(folder, True, None)
        comparison = evaluate(run, folder, checkpoints.best(folder), note=report.note)
        fitted.set_status("finished")
        learned = comparison["policies"]["learned"]["figures"]
        figures = {
            f"judged/{world_tag(name)}": each["value"] for name, each in learned.items() if each["value"] is not None
        }
        board.hparams(_hparams(run), {tag: value for tag, value in figures.items() if value == value})
    return Finished(folder, False, comparison)


class _Fit:
    """The training loop of one run, with what it writes."""

    def __init__(
        self,
        run: RunConfig,
        algorithm: Any,
        folder: Path,
        state: dict[str, Any],
        board: TensorBoard,
        report: ProgressReport,
    ) -> None:
        self._run, self._algorithm, self._folder = run, algorithm, folder
        self._state, self._board, self._report = state, board, report
        self._watch = Watch(run, folder, board) if run.evaluation.every_iterations else None
        self._saved_iteration = state["iteration"]

    def loop(self, is_interrupted: Callable[[], bool]) -> None:
        """Train to the end or to an interrupt; save in both cases."""
        self.set_status("running")
        if self._watch and not self._state["iteration"]:
            self._look()
        idle_since = time.monotonic()
        while self._state["env_steps"] < self._run.total_env_steps and not is_interrupted():
            before = self._state["env_steps"]
            self._iterate()
            if self._state["env_steps"] > before:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > MAX_IDLE_S:
                raise EdgeError(f"no env runner delivered a step for {MAX_IDLE_S:.0f} s; the newest checkpoint is kept")
        is_finished = self._state["env_steps"] >= self._run.total_env_steps
        if is_finished and self._watch and self._state["iteration"] % self._run.evaluation.every_iterations:
            self._look()
        if self._saved_iteration != self._state["iteration"] or not self._state["iteration"]:
            self._save()

    def _iterate(self) -> None:
        begin = time.perf_counter()
        result = self._algorithm.train()
        spent_s = time.perf_counter() - begin
        state = self._state
        env_steps = int(result.get("num_env_steps_sampled_lifetime", 0))
        agent_steps = result.get("env_runners", {}).get("num_agent_steps_sampled", {}).get("all", 0)
        values = scalars(result)
        values["speed/env_steps_per_s"] = (env_steps - state["env_steps"]) / spent_s
        values["speed/agent_steps_per_s"] = agent_steps / spent_s
        state["iteration"], state["env_steps"] = state["iteration"] + 1, env_steps
        state["wall_s"] += spent_s
        progress = {"iteration": state["iteration"], "env_steps": env_steps, "wall_s": round(state["wall_s"], 3)}
        self._board.scalars(values, env_steps)
        files.append_row(self._folder, {**progress, **values})
        self._report.update(env_steps, values)
        config = self._run
        if self._watch and state["iteration"] % config.evaluation.every_iterations == 0:
            self._look()
        if config.checkpoint.every_iterations and state["iteration"] % config.checkpoint.every_iterations == 0:
            self._save()

    def _look(self) -> None:
        """Evaluate on the watched worlds; keep the weights if they are the best so far."""
        assert self._watch is not None
        state = self._state
        value = self._watch.look(self._algorithm, state["iteration"], state["env_steps"])
        if state["best"] is None or self._watch.is_better(value, state["best"]):
            state["best"] = value
            checkpoints.save_best(self._algorithm, self._folder, state)

    def _save(self) -> None:
        path = checkpoints.save(self._algorithm, self._folder, self._state)
        checkpoints.prune(self._folder, self._run.checkpoint.keep)
        self._saved_iteration = self._state["iteration"]
        log.info("saved %s", path)

    def set_status(self, status: str) -> None:
        """Write how the run stands."""
        files.write_json(self._folder / files.STATUS, {"status": status, **self._state})


@contextlib.contextmanager
def _told_in_status(folder: Path, state: dict[str, Any]) -> Iterator[None]:
    """Write into the result that the run failed, and of what, when an exception ends it."""
    try:
        yield
    except BaseException as error:
        status, reason = "failed", f"{type(error).__name__}: {error}".partition("\n")[0]
        if isinstance(error, KeyboardInterrupt):
            status, reason = "interrupted", "stopped at once, without saving"
        with contextlib.suppress(
            EdgeError
        ):  # a full disk may take no status either; the first error is the one to tell
            files.write_json(folder / files.STATUS, {"status": status, "error": reason, **state})
        raise


def _hparams(run: RunConfig) -> dict[str, Any]:
    """Return the settings that runs are compared by."""
    algorithm = {f"algorithm.{key}": value for key, value in vars(run.algorithm).items()}
    model = {f"model.{key}": value for key, value in vars(run.model).items()}
    names = ("module_sharing", "seed", "n_env_runners", "n_worlds", "n_learners")
    return {"scenario": run.scenario.name, **algorithm, **model, **{name: getattr(run, name) for name in names}}


@contextlib.contextmanager
def _ray(run: RunConfig) -> Iterator[None]:
    """Have Ray running; stop it afterwards if it was started here."""
    import ray

    is_own = start_ray(n_slots(run))
    try:
        yield
    finally:
        if is_own:
            ray.shutdown()


@contextlib.contextmanager
def _interrupts(note: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yield a question: was Ctrl-C or a termination signal received? A second Ctrl-C stops without saving."""
    received = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield received.is_set
        return

    def receive(number: int, frame: Any) -> None:
        if received.is_set():
            raise KeyboardInterrupt
        received.set()
        note("stopping after this iteration; once more to stop at once, without saving")

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
