"""From a run's settings to Ray, an RLlib Algorithm, and a result folder that says what they were."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.config.load import dump, load_run
from edge_rllib.config.parts import user_modules
from edge_rllib.config.schema import RunConfig
from edge_rllib.experiment.checkpoints import best
from edge_rllib.experiment.versions import versions
from edge_rllib.results import files
from edge_rllib.runners.stored_episodes import wrong_name
from envs.errors import ConfigError
from envs.scenario import make

log = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 500_000_000  # holds some rollouts; a rollout of 100 steps x 64 worlds x 19 agents is 30 MB
_NOISY = ("ray.rllib", "ray.tune", "ray.widgets", "ray._common.deprecation", "ray._private.authentication")
_BACKEND_LEVEL = "RAY_BACKEND_LOG_LEVEL"


def start_ray(n_slots: int) -> bool:
    """Connect to the cluster that ``RAY_ADDRESS`` names, else start Ray here; False if it was running already.

    Slots are counts of processes, not cores: with fewer than processes an actor would wait for ever.
    """
    import ray

    for module in user_modules():
        ray.cloudpickle.register_pickle_by_value(module)  # other machines have not got the user's file
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray 2.60 warns in each process that has no GPU
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not os.environ.get("RAY_ADDRESS"):
        options.update(
            address="local",  # Ray would else join whatever head runs on this machine, and refuse the sizes below
            num_cpus=max(n_slots, os.cpu_count() or 1),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
        )
    with contextlib.nullcontext() if os.environ.get("RAY_ADDRESS") else _quiet_backend():
        ray.init(**options)
    known = int(ray.cluster_resources().get("CPU", 0))
    if known < n_slots - 1:  # this process itself takes no slot
        log.warning(
            "the cluster has %d CPU slots, the run asks for %d and waits until there are more", known, n_slots - 1
        )
    return True


@contextlib.contextmanager
def _quiet_backend() -> Iterator[None]:
    """Let Ray, which starts within, tell of nothing but what ends it, unless the user set its level.

    Its C++ tells of its issue 53727 for each env runner, as an error; it does no harm while this process lives.
    """
    if os.environ.get(_BACKEND_LEVEL):
        yield
        return
    os.environ[_BACKEND_LEVEL] = "fatal"
    try:
        with _without_lines(b"Set ray log level from environment variable"):
            yield
    finally:
        os.environ.pop(_BACKEND_LEVEL, None)


@contextlib.contextmanager
def _without_lines(mark: bytes) -> Iterator[None]:
    """Hold back what is written to the file descriptor of stderr, then pass on the lines without the mark."""
    try:
        stderr = os.dup(2)
    except OSError:  # closed, as in some services
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            os.write(2, b"".join(line for line in held if mark not in line))


def n_slots(run: RunConfig) -> int:
    """Return how many processes a run needs: its own, env runners, learners."""
    return 1 + run.n_env_runners + run.n_learners


def settings(run: RunConfig, start_from: str = "") -> RunSettings:
    """Return what the algorithm is told about the run; with a checkpoint ``start_from`` it begins with its weights."""
    return RunSettings(
        scenario=run.scenario,
        seed=run.seed,
        n_env_runners=run.n_env_runners,
        n_worlds=run.n_worlds,
        n_learners=run.n_learners,
        module_sharing=run.module_sharing,
        sample_ahead=run.sample_ahead,
        total_env_steps=run.total_env_steps,
        learner_threads=run.learner_threads,
        n_gpus_per_learner=run.n_gpus_per_learner,
        start_from=start_from,
    )


def algorithm_config(run: RunConfig, start_from: str = "") -> Any:
    """Return RLlib's config of a run; settings that do not fit each other raise ConfigError."""
    _check_shaping(run)
    config = run.algorithm.to_config(settings(run, start_from), run.model)
    if run.mutual_information is None:
        return config
    if getattr(run.algorithm, "offline", False):
        raise ConfigError(
            f"{run.name}: mutual_information learns from steps that are played, of which offline = true has none"
        )
    from edge_rllib.callbacks.mutual_information import add_mutual_information  # loads RLlib, which is slow

    return add_mutual_information(config, run.mutual_information)


def _check_shaping(run: RunConfig) -> None:
    """Refuse potential-based shaping with another discount than the learner's: it would change what is optimal."""
    shaping = getattr(getattr(run.scenario.params, "reward", None), "shaping", None)
    gamma = getattr(run.algorithm, "gamma", None)
    if shaping is not None and shaping.is_on and gamma is not None and shaping.gamma != gamma:
        raise ConfigError(
            f"{run.name}: scenario.params.reward.shaping.gamma = {shaping.gamma}, but algorithm.gamma = {gamma}; "
            "only the learner's own discount leaves the optimal policies what they are: expected equal numbers"
        )


def build(run: RunConfig, is_new: bool = True) -> Any:
    """Return the Algorithm of a run; a new one begins with the weights of the result that it names, if it does."""
    start_from = str(start_checkpoint(run)) if is_new and run.start_from else ""
    algorithm = algorithm_config(run, start_from).build_algo()
    with contextlib.suppress(OSError):
        Path(algorithm.logdir).rmdir()  # RLlib makes a folder in ~/ray_results, in which nothing is written
    return algorithm


def start_checkpoint(run: RunConfig) -> Path:
    """Return the best checkpoint of the result that a run starts from, if its agents see and decide on the same."""
    folder = files.result_folder(str(run.start_from))
    before = load_run(str(folder / files.CONFIG))
    given, expected = (make(each.scenario, 1, each.seed).spec for each in (before, run))
    fault = wrong_name("feature", given.feature_names, expected.feature_names)
    fault = fault or wrong_name("amount", given.amount_names, expected.amount_names)
    if fault:
        raise ConfigError(
            f"start_from {folder}: a policy for {given.scenario} does not fit scenario {expected.scenario}: {fault}"
        )
    return best(folder)


def write_settings(run: RunConfig, folder: Path) -> None:
    """Make the result folder, with resolved settings, the user's own source files, and versions."""
    with files.new_folder(folder) as part:
        settings_files(dump(run), part)
        files.write_json(part / files.VERSIONS, versions())


def settings_files(text: str, folder: Path) -> None:
    """Write settings and, beside them, the users' source files, which the settings then name by relative paths."""
    for module in user_modules():
        source = Path(module.__file__)
        if str(source) in text:
            (folder / files.SOURCES).mkdir(exist_ok=True)
            shutil.copy2(source, folder / files.SOURCES / source.name)
            text = text.replace(str(source), f"{files.SOURCES}/{source.name}")
    files.write_text(folder / files.CONFIG, text)
