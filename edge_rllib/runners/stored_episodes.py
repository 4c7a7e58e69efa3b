"""Whole episodes in one file: what agents saw, decided and earned, in a simulated world or on a testbed.

The steps of whole episodes lie one after another, so that a file reads like one world whose episodes follow each other:
what comes after a step is the next row, and after the last step of an episode its row in the arrays ``final_*``. The
file is an npz archive of arrays (T, ...) over steps and (E, ...) over episodes, with a header in JSON.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_rllib.runners import rollout as column
from edge_rllib.runners.agents import as_slice
from edge_rllib.runners.rollout import Finals, Rollout
from envs.arrays import BOOL, F4, F8, I8
from envs.constants import LOCAL
from envs.errors import ConfigError
from envs.world import Outcome, World, WorldSpec

FORMAT = 1  # of the file; a reader knows one
SIMULATION = "simulation"  # as a source; a testbed says which it is
_HEADER = "header"
_DAMAGE = (OSError, EOFError, KeyError, MemoryError, NotImplementedError, TypeError, ValueError)  # of reading
_ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error)
_STORED_WORLD: I8 = np.array([-1], np.int64)  # the world id of rollouts from files: no world has it


class Header(NamedTuple):
    """What a file of episodes says of itself."""

    format: int
    scenario: str
    source: str  # "simulation", or "testbed" and which
    agents: tuple[str, ...]  # N names
    feature_names: tuple[str, ...]  # F names
    n_targets: int  # K
    amount_names: tuple[str, ...]  # A names
    n_decisions: int  # D of an agent in a step
    n_state: int  # S, 0 where no global state is stored

    def step_arrays(self) -> dict[str, tuple[type, tuple[int, ...]]]:
        """Return dtype and shape, behind the axis of steps, of each array over steps."""
        n, d = len(self.agents), (self.n_decisions,) if self.n_decisions > 1 else ()
        arrays: dict[str, tuple[type, tuple[int, ...]]] = {
            "observation": (np.float32, (n, len(self.feature_names))),
            "target_mask": (np.bool_, (n, self.n_targets)),
            "decision": (np.int64, (n, *d)),
            "amounts": (np.float64, (n, len(self.amount_names))),
            "reward": (np.float32, (n,)),
            "terminated": (np.bool_, ()),
            "truncated": (np.bool_, ()),
        }
        return {**arrays, "state": (np.float32, (self.n_state,))} if self.n_state else arrays

    def final_arrays(self) -> dict[str, tuple[type, tuple[int, ...]]]:
        """Return the same of each array over episodes."""
        steps = self.step_arrays()
        return {f"final_{name}": steps[name] for name in ("observation", "target_mask", "state") if name in steps}


class StoredEpisodes(NamedTuple):
    """The episodes of a file; T steps, E episodes."""

    header: Header
    observation: F4  # (T, N, F)
    target_mask: BOOL  # (T, N, K)
    decision: I8  # (T, N), or (T, N, D) for D > 1
    amounts: F8  # (T, N, A)
    reward: F4  # (T, N)
    terminated: BOOL  # (T,)
    truncated: BOOL  # (T,)
    final_observation: F4  # (E, N, F) behind the last step of each episode
    final_target_mask: BOOL  # (E, N, K)
    state: F4 | None = None  # (T, S)
    final_state: F4 | None = None  # (E, S)

    @property
    def n_steps(self) -> int:
        """Return T."""
        return len(self.reward)

    @property
    def n_episodes(self) -> int:
        """Return E."""
        return len(self.final_observation)


class EpisodeWriter:
    """Writes the whole episodes of B worlds into a file, a step at a time; a context manager.

    Steps wait on disk, beside the file, until the block ends: memory holds an episode at most. Episodes that are not
    over by then are left out, and an error leaves no file. A testbed is one world, B = 1.
    """

    def __init__(
        self, path: Path, spec: WorldSpec, source: str, *, with_state: bool = True, n_each: I8 | int | None = None
    ) -> None:
        """Take the worlds' spec; only the first ``n_each`` episodes count, of each world or by world; default all."""
        n_state = spec.n_state if with_state else 0
        self.header = Header(
            FORMAT,
            spec.scenario,
            source,
            spec.agents,
            spec.feature_names,
            spec.n_targets,
            spec.amount_names,
            spec.n_decisions,
            n_state,
        )
        self._path = path
        self._n_left: I8 = np.full(spec.n_worlds, np.iinfo(np.int64).max if n_each is None else n_each)  # to be stored
        self._stack = contextlib.ExitStack()
        self._steps = {name: self._spill(*each, spec.n_worlds) for name, each in self.header.step_arrays().items()}
        self._finals = {name: self._spill(*each) for name, each in self.header.final_arrays().items()}
        self._episodes: list[tuple[int, int, int]] = []  # world, first step and the step behind the last
        self._begin: I8 = np.zeros(spec.n_worlds, np.int64)
        self._seen: dict[str, Any] = {}

    def _spill(self, dtype: type, shape: tuple[int, ...], *n_worlds: int) -> _Spill:
        file = self._stack.enter_context(tempfile.TemporaryFile(dir=self._path.parent))  # noqa: SIM115  (it closes them)
        return _Spill(file, np.dtype(dtype), (*n_worlds, *shape))

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with self._stack:
            if kind is not None:
                return
            try:
                self._write()
            except BaseException:
                self._path.unlink(missing_ok=True)  # a full disk leaves no part of a file
                raise

    @property
    def n_episodes(self) -> int:
        """Return the episodes that are over and will be stored."""
        return len(self._episodes)

    @property
    def n_steps(self) -> int:
        """Return the steps of these episodes."""
        return sum(end - begin for _, begin, end in self._episodes)

    def begin(self, out: Outcome) -> None:
        """Take what the worlds show after a reset; episodes that were under way are forgotten."""
        self._begin[:] = self._steps["reward"].n_rows
        self._look(out)

    def step(self, decision: I8, out: Outcome, amounts: F8 | None = None) -> None:
        """Take a step: decisions and amounts as for ``World.step``, and what it left in ``out``.

        A masked target is stored as the world counts it: as target 0.
        """
        if not self._seen:
            raise ConfigError(f"{self._path}: a step before the first observation; expected begin() after a reset")
        rows: dict[str, Any] = {
            **self._seen,
            "decision": _allowed(decision, self._seen["target_mask"]),
            "amounts": np.zeros(self._steps["amounts"].shape) if amounts is None else amounts,
            "reward": out.reward,
            "terminated": out.terminated,
            "truncated": out.truncated,
        }
        for name, spill in self._steps.items():
            spill.add(name, rows[name])
        for b in np.flatnonzero(out.terminated | out.truncated):
            self._end(int(b), out)
        self._look(out)

    def _look(self, out: Outcome) -> None:
        for name in ("observation", "target_mask", "state"):
            if name in self._steps:
                self._seen[name] = getattr(out, name).copy()

    def _end(self, b: int, out: Outcome) -> None:
        begin, end = int(self._begin[b]), self._steps["reward"].n_rows
        self._begin[b] = end
        if self._n_left[b] > 0:
            self._n_left[b] -= 1
            self._episodes.append((b, begin, end))
            for name, spill in self._finals.items():
                spill.add(name, getattr(out, name)[b])

    def _write(self) -> None:
        if not self._episodes:
            raise ConfigError(
                f"{self._path}: no episode is over after {self._steps['reward'].n_rows} steps; expected one at least, "
                "as only whole episodes are stored"
            )
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_DEFLATED) as archive:
            text = np.array(json.dumps(self.header._asdict()))
            _add_array(archive, _HEADER, text.dtype, (), [text])
            for name, spill in self._steps.items():
                rows = spill.rows()
                pieces = (rows[begin:end, b] for b, begin, end in self._episodes)
                _add_array(archive, name, spill.dtype, (self.n_steps, *spill.shape[1:]), pieces)
            for name, spill in self._finals.items():
                _add_array(archive, name, spill.dtype, (self.n_episodes, *spill.shape), [spill.rows()])


class _Spill:
    """Rows of one array in a temporary file."""

    def __init__(self, file: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._file, self.dtype, self.shape, self.n_rows = file, dtype, shape, 0

    def add(self, name: str, row: Any) -> None:
        if row.shape != self.shape:
            raise ConfigError(f"episodes: {name} has shape {row.shape}; expected {self.shape}")
        self._file.write(np.ascontiguousarray(row, self.dtype).tobytes())
        self.n_rows += 1

    def rows(self) -> Any:
        shape = (self.n_rows, *self.shape)
        if not np.prod(shape):
            return np.zeros(shape, self.dtype)
        self._file.flush()
        return np.memmap(self._file, self.dtype, "r", shape=shape)


def _add_array(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], pieces: Iterable[Any]
) -> None:
    """Write an array into an archive, piece by piece."""
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, about)
        for piece in pieces:
            file.write(piece.tobytes())


def _allowed(decision: I8, mask: BOOL) -> I8:
    """Return decisions (B, N) or (B, N, D) with target 0 where ``mask`` (B, N, K) forbids the one chosen."""
    chosen = decision.reshape(*mask.shape[:2], -1)
    is_allowed = np.take_along_axis(mask, chosen, 2)
    return np.where(is_allowed, chosen, LOCAL).reshape(decision.shape)


class Recorded:
    """A world whose episodes are written as they are played; all else is the world's own."""

    def __init__(self, world: World, writer: EpisodeWriter) -> None:
        """Take a world, to be reset first, and what writes its episodes."""
        self._world, self._writer = world, writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def reset(self, world_ids: Sequence[int] | I8 | None, out: Outcome) -> None:
        """Reset the world and begin anew."""
        self._world.reset(world_ids, out)
        self._writer.begin(out)

    def step(self, decision: I8, out: Outcome, amounts: F8 | None = None) -> None:
        """Step the world and write what happened."""
        if amounts is None:
            self._world.step(decision, out)
        else:
            self._world.step(decision, out, amounts)
        self._writer.step(decision, out, amounts)


def read_episodes(path: Path, spec: WorldSpec | None = None) -> StoredEpisodes:
    """Return the episodes of a file; one that is foreign, damaged or does not fit ``spec`` raises ConfigError."""
    with _archive(path) as arrays:
        header = _header(path, arrays, spec)
        found = {name: arrays[name] for name in [*header.step_arrays(), *header.final_arrays()] if name in arrays}
    n_steps, n_episodes = len(found.get("terminated", ())), len(found.get("final_observation", ()))
    for names, n_rows in ((header.step_arrays(), n_steps), (header.final_arrays(), n_episodes)):
        for name, (dtype, shape) in names.items():
            if name not in found:
                raise ConfigError(f"{path}: the array {name!r} is missing; it has: {', '.join(found) or 'none'}")
            given = found[name]
            if given.dtype != dtype or given.shape != (n_rows, *shape):
                raise ConfigError(
                    f"{path}: {name} is {given.dtype} {given.shape}; expected {np.dtype(dtype)} {(n_rows, *shape)}"
                )
    stored = StoredEpisodes(header, **found)
    _check_contents(path, stored)
    return stored


def count_steps(path: Path, spec: WorldSpec) -> int:
    """Return the steps of a file that fits ``spec``, read without its large arrays."""
    with _archive(path) as arrays:
        _header(path, arrays, spec)
        return len(arrays["terminated"])


def wrong_name(kind: str, given: Sequence[str], expected: Sequence[str]) -> str:
    """Return what is wrong with names that should be the expected ones in their order; empty where nothing is."""
    for index, (one, other) in enumerate(zip_longest(given, expected)):
        if one == other:
            continue
        if other is None:
            return f"it has {len(given)} {kind}s, expected {len(expected)}: {one!r} is not among them"
        near = difflib.get_close_matches(other, given, n=1, cutoff=0.5)
        hint = f"; the nearest that it has is {near[0]!r}" if near else ""
        what = f"it has no {kind} {index}" if one is None else f"{kind} {index} is {one!r}"
        return f"{what}, expected {other!r}{hint}"
    return ""


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of a file, each read when it is asked for."""
    try:
        if not zipfile.is_zipfile(path):
            path.open("rb").close()  # says why, if it cannot be read
            raise ConfigError(
                f"{path}: no file of episodes, nor any npz archive; expected what `play --episodes` wrote"
            )
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except ConfigError:
        raise
    except (*_DAMAGE, *_ZIP_DAMAGE) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"{path}: cannot be read as episodes: {reason}") from error


def _header(path: Path, arrays: Mapping[str, Any], spec: WorldSpec | None) -> Header:
    """Return the header of a file that fits ``spec``."""
    if _HEADER not in arrays:
        raise ConfigError(f"{path}: no file of episodes: it has no header, but {', '.join(arrays) or 'nothing'}")
    values = json.loads(str(arrays[_HEADER]))
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise ConfigError(f"{path}: episodes of format {found!r}; this version reads format {FORMAT}")
    if set(values) != set(Header._fields):
        wrong = ", ".join(sorted(set(values) ^ set(Header._fields)))
        raise ConfigError(f"{path}: the header's keys are not those of format {FORMAT}; missing or unknown: {wrong}")
    fields: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}
    header = Header(**fields)
    if spec is not None:
        _check_fits(path, header, spec)
    return header


def _check_fits(path: Path, header: Header, spec: WorldSpec) -> None:
    """Raise ConfigError unless episodes are of agents that see and decide what those of ``spec`` do."""
    fault = (
        wrong_name("agent", header.agents, spec.agents)
        or wrong_name("feature", header.feature_names, spec.feature_names)
        or wrong_name("amount", header.amount_names, spec.amount_names)
    )
    for name in ("n_targets", "n_decisions"):
        if not fault and getattr(header, name) != getattr(spec, name):
            fault = f"{name} is {getattr(header, name)}, expected {getattr(spec, name)}"
    if fault:
        raise ConfigError(f"{path}: episodes of {header.scenario} do not fit scenario {spec.scenario}: {fault}")


def _check_contents(path: Path, stored: StoredEpisodes) -> None:
    """Raise ConfigError unless episodes are whole and their values possible."""
    ended = stored.terminated | stored.truncated
    if not stored.n_steps or not ended[-1]:
        raise ConfigError(f"{path}: the last of {stored.n_steps} steps ends no episode; expected whole episodes")
    if ended.sum() != stored.n_episodes:
        raise ConfigError(
            f"{path}: {ended.sum()} steps end an episode, but {stored.n_episodes} have a final observation; expected "
            "equal numbers"
        )
    n_targets = stored.header.n_targets
    if stored.decision.min() < 0 or stored.decision.max() >= n_targets:
        wrong = stored.decision[(stored.decision < 0) | (stored.decision >= n_targets)][0]
        raise ConfigError(f"{path}: there is a decision {wrong}; expected targets from 0 to {n_targets - 1}")
    for name in ("observation", "amounts", "reward", "final_observation", "state", "final_state"):
        values = getattr(stored, name)
        if values is not None and not np.isfinite(values).all():
            step = int(np.argwhere(~np.isfinite(values))[0][0])
            raise ConfigError(f"{path}: {name} has a value that is not finite, first in row {step}")


def fragments(stored: StoredEpisodes, groups: dict[str, I8], n_steps: int, with_state: bool) -> Iterator[Rollout]:
    """Yield episodes as the rollouts of one world, ``n_steps`` each, whose transitions go on from one to the next.

    ``groups`` are the agents' indices of each module. Log probabilities are not known and 0.
    """
    behind = np.flatnonzero(stored.terminated | stored.truncated)
    for begin in range(0, stored.n_steps, n_steps):
        steps = slice(begin, min(begin + n_steps, stored.n_steps))
        is_cut = stored.truncated[behind] & (behind >= begin) & (behind < steps.stop)
        finals = Finals(
            behind[is_cut] - begin,
            np.zeros(int(is_cut.sum()), np.int64),
            stored.final_observation[is_cut],
            stored.final_target_mask[is_cut],
            stored.final_state[is_cut] if with_state and stored.final_state is not None else None,
        )
        state = None
        if with_state and stored.state is not None and stored.final_state is not None:
            state = _with_next(stored.state, stored.final_state, steps)
        seen = _with_next(stored.observation, stored.final_observation, steps)
        mask = _with_next(stored.target_mask, stored.final_target_mask, steps)
        joint = {
            column.OBSERVATION: seen,
            column.MASK: mask,
            column.DECISION: stored.decision[steps, None],
            column.AMOUNTS: stored.amounts[steps, None].astype(np.float32),
            column.LOGP: np.zeros(stored.reward[steps, None].shape, np.float32),
            column.REWARD: stored.reward[steps, None],
        }
        endings = stored.terminated[steps, None], stored.truncated[steps, None]
        yield _rollout(joint, groups, *endings, state, finals if is_cut.any() else None)


def no_steps(spec: WorldSpec, groups: dict[str, I8], with_state: bool) -> Rollout:
    """Return a rollout without steps, for Learners that go on with what they have."""
    n = spec.n_agents
    joint: dict[str, Any] = {
        column.OBSERVATION: np.zeros((1, 1, n, spec.n_features), np.float32),
        column.MASK: np.ones((1, 1, n, spec.n_targets), np.bool_),
        column.DECISION: np.zeros((0, 1, n), np.int64),
        column.AMOUNTS: np.zeros((0, 1, n, spec.n_amounts), np.float32),
        column.LOGP: np.zeros((0, 1, n), np.float32),
        column.REWARD: np.zeros((0, 1, n), np.float32),
    }
    nothing: BOOL = np.zeros((0, 1), np.bool_)
    state: F4 | None = np.zeros((1, 1, spec.n_state), np.float32) if with_state else None
    return _rollout(joint, groups, nothing, nothing, state, None)


def _rollout(
    joint: dict[str, Any],
    groups: dict[str, I8],
    terminated: BOOL,
    truncated: BOOL,
    state: F4 | None,
    finals: Finals | None,
) -> Rollout:
    """Return a rollout of columns (t, 1, N, ...) of all agents, with those of each module its own."""
    columns = {
        module_id: {name: array[:, :, as_slice(agents)] for name, array in joint.items()}
        for module_id, agents in groups.items()
    }
    return Rollout(columns, groups, terminated, truncated, state, finals, _STORED_WORLD, 0)


def _with_next(rows: Any, finals: Any, steps: slice) -> Any:
    """Return rows (t + 1, 1, ...): those of steps and the one behind them, at the end of a file its last final one."""
    if steps.stop < len(rows):
        return rows[steps.start : steps.stop + 1, None]
    return np.concatenate((rows[steps], finals[-1:]))[:, None]
