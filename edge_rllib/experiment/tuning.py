"""Searches: many trials of a run through Ray Tune, with ASHA or population based training."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining
from ray.tune.search.basic_variant import BasicVariantGenerator

from edge_rllib.callbacks.tensorboard import TensorBoard
from edge_rllib.config.load import override_run
from edge_rllib.config.schema import RunConfig
from edge_rllib.config.search import SearchConfig, dump_search, load_search
from edge_rllib.config.tree import Overrides
from edge_rllib.experiment import checkpoints
from edge_rllib.experiment.build import n_slots, start_ray, write_settings
from edge_rllib.experiment.evaluation import evaluate, judging_sign
from edge_rllib.experiment.seeding import child_seed
from edge_rllib.experiment.trial import HELD_OUT, Trial
from edge_rllib.experiment.versions import versions
from edge_rllib.results import files
from envs.errors import EdgeError

SEARCH, TRIALS, TRIALS_TEXT, BEST = "search.yaml", "trials.json", "trials.txt", "best"
_TUNE = "tune"  # folder of what Tune writes, below the result


@dataclass(frozen=True)
class Found:
    """What a search left behind."""

    folder: Path
    rows: list[dict[str, Any]]  # of each trial, the best first
    best: Path  # a result of its own: settings, checkpoint, comparison


class TuneTrial(tune.Trainable):
    """Lets Tune drive a ``Trial``."""

    def setup(self, config: dict[str, Any], run: RunConfig) -> None:
        """Build the trial with the settings that Tune chose."""
        self._run, self._trial = run, Trial(run, config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial in the same process, which saves starting one."""
        self._trial.stop()
        self._trial = Trial(self._run, new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train until the next report."""
        return self._trial.report()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save into Tune's folder."""
        self._trial.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Restore from Tune's folder."""
        self._trial.restore(Path(checkpoint))

    def cleanup(self) -> None:
        """Stop the trial's processes."""
        self._trial.stop()


class TrialLog(tune.Callback):
    """Writes each trial's reports as TensorBoard files and rows, with the names that single runs use."""

    def __init__(self, metric: str, note: Callable[[str], None]) -> None:
        """Name the figure that is told on the way."""
        self._metric, self._note = metric, note
        self._boards: dict[str, TensorBoard] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Write one report."""
        folder = Path(trial.path)
        if trial.trial_id not in self._boards:
            self._boards[trial.trial_id] = TensorBoard(folder)
        self._boards[trial.trial_id].scalars(result["tags"], result["env_steps"])
        row = {key: result[key] for key in ("iteration", "env_steps", HELD_OUT)}
        files.append_row(folder, row)
        value = result[HELD_OUT][self._metric]
        self._note(f"trial {trial.trial_id[-5:]}: {result['env_steps']:>10,} steps  {self._metric} {value:.4g}")

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Close the files."""
        for board in self._boards.values():
            board.close()


def say(text: str) -> None:
    """Tell a line to the user. Tune pickles it, and cannot pickle ``print``, which Ray replaces when it shows bars."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def search(name: str, overrides: Overrides = (), into: Path | None = None, note: Callable[[str], None] = say) -> Found:
    """Run a search by name into a new result folder; judge its best trial against the rules."""
    settings = load_search(name, overrides)
    sign = judging_sign(settings.run)
    for key in settings.space:
        override_run(
            settings.run, {key: _example(settings.space[key])}
        )  # a wrong key is refused before anything starts
    folder = (into or files.fresh_folder(Path(settings.run.results), settings.name)).resolve()
    import ray

    is_own = start_ray(max(os.cpu_count() or 1, n_slots(settings.run)))
    try:
        with files.new_folder(folder) as part:
            files.write_text(part / SEARCH, dump_search(settings))
            files.write_json(part / files.VERSIONS, versions())
        results = _tuner(settings, folder, sign, note).fit()
        rows = _rows(results, settings, sign)
        files.write_json(folder / TRIALS, rows)
        files.write_text(folder / TRIALS_TEXT, trial_table(rows))
        return Found(folder, rows, _judge_best(settings, folder, rows, note))
    finally:
        if is_own:
            ray.shutdown()


def trial_table(rows: list[dict[str, Any]]) -> str:
    """Return the trials as text, the best first."""
    if not rows:
        return "no trials\n"
    keys = [key for key in rows[0] if key not in ("folder", "checkpoint", "error")]
    cells = [keys, *[[_cell(row[key]) for key in keys] for row in rows]]
    widths = [max(len(row[j]) for row in cells) for j in range(len(keys))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines) + "\n"


def concurrent_trials(run: RunConfig, n_cores: int) -> int:
    """Return how many trials the cores of this machine can carry: each of a trial's processes takes one."""
    return max(1, n_cores // n_slots(run))


def _tuner(settings: SearchConfig, folder: Path, sign: float, note: Callable[[str], None]) -> Any:
    run = settings.run
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # TrialLog writes with the names of single runs
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    is_local = not os.environ.get("RAY_ADDRESS")
    space = {key: _domain(law) for key, law in settings.space.items()}
    bundles = [{"CPU": 1.0}, *[{"CPU": 1.0}] * (run.n_env_runners + run.n_learners)]
    if run.n_gpus_per_learner:
        place = bundles[-1] if run.n_learners else bundles[0]
        place["GPU"] = run.n_gpus_per_learner
    trainable = tune.with_resources(tune.with_parameters(TuneTrial, run=run), tune.PlacementGroupFactory(bundles))
    at_once = concurrent_trials(run, os.cpu_count() or 1) if is_local else 0
    generator = BasicVariantGenerator(max_concurrent=at_once, random_state=child_seed(run.seed, "search"))
    return tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=f"{HELD_OUT}/{run.evaluation.metric}",
            mode="max" if sign > 0 else "min",
            num_samples=settings.n_trials,
            scheduler=_scheduler(settings),
            search_alg=generator,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=_TUNE,
            storage_path=str(folder),
            verbose=0,
            callbacks=[TrialLog(run.evaluation.metric, note)],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=4, checkpoint_at_end=True, checkpoint_frequency=1),
            failure_config=tune.FailureConfig(max_failures=1),
        ),
    )


def _scheduler(settings: SearchConfig) -> Any:
    if settings.method == "asha":
        assert settings.asha is not None
        return ASHAScheduler(
            time_attr="env_steps",
            max_t=settings.run.total_env_steps,
            grace_period=settings.asha.grace_env_steps,
            reduction_factor=settings.asha.reduction_factor,
        )
    if settings.method == "pbt":
        assert settings.pbt is not None
        return PopulationBasedTraining(
            time_attr="env_steps",
            perturbation_interval=settings.pbt.perturbation_env_steps,
            quantile_fraction=settings.pbt.quantile_frac,
            resample_probability=settings.pbt.resample_prob,
            hyperparam_mutations={key: _domain(law) for key, law in settings.space.items()},
            custom_explore_fn=lambda config: clip_to_space(config, settings.space),
        )
    return FIFOScheduler()


def clip_to_space(config: dict[str, Any], space: dict[str, Any]) -> dict[str, Any]:
    """Return settings that a perturbation has changed, each within the bounds of its law."""
    clipped = dict(config)
    for key, law in space.items():
        name, values = next(iter(law.items()))
        if name in ("uniform", "loguniform"):
            clipped[key] = min(max(config[key], values[0]), values[1])
    return clipped


def _domain(law: dict[str, list[Any]]) -> Any:
    name, values = next(iter(law.items()))
    if name == "grid":
        return tune.grid_search(values)
    if name == "choice":
        return tune.choice(values)
    return getattr(tune, name)(*values)


def _example(law: dict[str, list[Any]]) -> Any:
    return next(iter(law.values()))[0]


def _rows(results: Any, settings: SearchConfig, sign: float) -> list[dict[str, Any]]:
    """Return a row a trial, the best first; a trial that failed stands last with its error."""
    metric, rows = settings.run.evaluation.metric, []
    for result in results:
        metrics = result.metrics or {}
        value = metrics.get(HELD_OUT, {}).get(metric, math.nan)
        rows.append(
            {
                "trial": Path(result.path).name,
                metric: value,
                "env_steps": metrics.get("env_steps", 0),
                "status": "failed" if result.error else "finished" if metrics.get("done") else "stopped",
                **{key: (result.config or {}).get(key) for key in settings.space},
                "folder": str(result.path),
                "checkpoint": result.checkpoint.path if result.checkpoint else None,
                "error": str(result.error) if result.error else None,
            }
        )
    return sorted(rows, key=lambda row: (row[metric] != row[metric], -sign * row[metric]))


def _judge_best(settings: SearchConfig, folder: Path, rows: list[dict[str, Any]], note: Callable[[str], None]) -> Path:
    """Make a result of the best trial: its settings, its last checkpoint, and the comparison with the rules."""
    metric = settings.run.evaluation.metric
    usable = [row for row in rows if row["checkpoint"] and row[metric] == row[metric]]
    if not usable:
        errors = [row["error"] for row in rows if row["error"]]
        raise EdgeError(
            f"no trial of the search reported anything{': ' + errors[0].splitlines()[-1] if errors else ''}"
        )
    best = usable[0]
    run = override_run(settings.run, {key: best[key] for key in settings.space})
    target = folder / BEST
    write_settings(run, target)
    with files.new_folder(target / files.CHECKPOINTS / checkpoints.BEST) as part:
        shutil.copytree(best["checkpoint"], part, dirs_exist_ok=True)
    shutil.copy2(Path(best["folder"]) / files.PROGRESS, target / files.PROGRESS)
    evaluate(run, target, checkpoints.best(target), note=note)
    return target


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
