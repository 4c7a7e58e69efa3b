"""A run that fails says so in its result, and a full disk leaves nothing that is half-written."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edge_rllib.algorithms.base import BatchedAlgorithm
from edge_rllib.callbacks.tensorboard import TensorBoard
from edge_rllib.cli.main import main
from edge_rllib.config.load import load_run
from edge_rllib.experiment import checkpoints
from edge_rllib.experiment.run import resume, train
from edge_rllib.results import files, report
from edge_rllib.results.files import read_json, read_progress
from envs.errors import EdgeError

pytestmark = pytest.mark.usefixtures("ray_session")

N_WORLDS, FRAGMENT_STEPS, N_ITERATIONS = 2, 10, 3
STEPS = N_WORLDS * FRAGMENT_STEPS * N_ITERATIONS
TINY = {
    "scenario": "fog_ring_8",
    "scenario.params.horizon_slots": 20,
    "algorithm.fragment_steps": FRAGMENT_STEPS,
    "n_env_runners": 0,
    "n_worlds": N_WORLDS,
    "total_env_steps": STEPS,
    "evaluation.worlds": 2,
    "evaluation.every_iterations": 0,
    "evaluation.rules": ["local"],
    "checkpoint.every_iterations": 1,
    "checkpoint.keep": 2,
}


def after(n_calls: int, function: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """Return a stand-in that does as the function does, and from call ``n_calls`` + 1 on then raises the error."""
    calls = iter(range(1000))

    def stand_in(*arguments: Any, **options: Any) -> Any:
        value = function(*arguments, **options)
        if next(calls) >= n_calls:
            raise error
        return value

    return stand_in


def train_here(folder: Path) -> int:
    return main(["train", "quickstart", *(f"--set={k}={json.dumps(v)}" for k, v in TINY.items()), f"--into={folder}"])


def half_written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix in (".part", ".old")]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RuntimeError("the learner broke\nsecond line"), "failed", "RuntimeError: the learner broke"),
        (KeyboardInterrupt(), "interrupted", "stopped at once, without saving"),
    ],
)
def test_run_that_crashes_is_failed_with_its_reason(
    error: BaseException, status: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "result"
    with monkeypatch.context() as patch:
        patch.setattr(BatchedAlgorithm, "train", after(2, BatchedAlgorithm.train, error))
        with pytest.raises(type(error)) as caught:
            train(load_run("quickstart", TINY), folder)
    assert caught.value is error

    told = read_json(folder / "status.json")
    assert (told["status"], told["error"], told["iteration"]) == (status, message, 2)
    assert f"status: {status} ({message}), iteration 2" in report.text(folder)

    resume(folder)
    told = read_json(folder / "status.json")
    assert (told["status"], told["iteration"]) == ("finished", N_ITERATIONS)
    assert "error" not in told
    assert "status: finished, iteration" in report.text(folder)


def test_run_whose_judgement_crashes_is_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(*arguments: Any, **options: Any) -> None:
        raise ValueError("cannot be judged")

    monkeypatch.setattr("edge_rllib.experiment.run.evaluate", evaluate)
    with pytest.raises(ValueError, match="cannot be judged"):
        train(load_run("quickstart", TINY), tmp_path / "result")

    assert read_json(tmp_path / "result" / "status.json")["error"] == "ValueError: cannot be judged"


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_at_the_settings_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edge_rllib.experiment.build.settings_files", after(0, lambda *_: None, full()))

    assert train_here(tmp_path / "result") == 2

    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"edge-rllib: ResultError: {tmp_path / 'result'}: the disk is full")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_at_a_checkpoint_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "result"
    monkeypatch.setattr(BatchedAlgorithm, "save_to_path", after(1, BatchedAlgorithm.save_to_path, full()))

    assert train_here(folder) == 2

    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(f"edge-rllib: ResultError: {folder / 'checkpoints' / '000002'}: the disk is full")
    assert not any("Traceback" in line for line in lines)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["000001"]
    assert checkpoints.load_state(checkpoints.latest(folder))["iteration"] == 1
    assert half_written(folder) == []
    assert read_json(folder / "status.json")["status"] == "failed"
    assert "the disk is full" in read_json(folder / "status.json")["error"]

    monkeypatch.undo()
    assert main(["train", "--resume", str(folder)]) == 0


def test_full_disk_that_takes_no_status_either_tells_of_the_first_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "result"
    monkeypatch.setattr(BatchedAlgorithm, "save_to_path", after(0, BatchedAlgorithm.save_to_path, full()))
    monkeypatch.setattr(files, "write_json", after(3, files.write_json, full()))  # versions, running, run's counters

    assert train_here(folder) == 2

    assert f"{folder / 'checkpoints' / '000001'}: the disk is full" in capsys.readouterr().err.splitlines()[-1]
    assert half_written(folder) == []


def test_full_disk_at_a_row_of_training_leaves_whole_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "result"

    def cut_row(path: Path, row: dict[str, Any]) -> None:
        with files.explained(path / files.PROGRESS), (path / files.PROGRESS).open("a") as file:
            file.write('{"iteration": 2, "retu')
            file.flush()
            raise full()

    whole, calls = files.append_row, iter(range(1000))
    monkeypatch.setattr(files, "append_row", lambda *given: whole(*given) if not next(calls) else cut_row(*given))

    assert train_here(folder) == 2

    assert f"{folder / 'progress.jsonl'}: the disk is full" in capsys.readouterr().err.splitlines()[-1]
    assert [row["iteration"] for row in read_progress(folder)] == [1]
    monkeypatch.undo()
    assert main(["train", "--resume", str(folder)]) == 0
    assert [row["iteration"] for row in read_progress(folder)] == [1, 2, 3]


@pytest.mark.parametrize(
    "write",
    [
        lambda board: board.scalars({f"a/{i}": 1.0 for i in range(50)}, 1),  # more than its queue once held
        lambda board: board.text("a", "b"),
        lambda board: board.hparams({"a": 1}, {"b": 2.0}),
    ],
)
def test_full_disk_at_the_curves_is_told_and_does_not_block(
    write: Callable[[TensorBoard], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EdgeError) as caught, TensorBoard(tmp_path) as board:
        monkeypatch.setattr(board._writer.file_writer.event_writer._file._py_recordio_writer, "write", broken)
        monkeypatch.setattr(board._writer.file_writer.event_writer._file._py_recordio_writer, "flush", broken)
        write(board)

    assert str(caught.value) == f"{tmp_path}: curves cannot be written: No space left on device"


def broken(*arguments: Any) -> None:
    raise full()


def test_curves_are_on_the_disk_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_rllib.callbacks.tensorboard.FLUSH_S", 0.0)
    with TensorBoard(tmp_path) as board:
        board.scalars({"a/b": 3.0}, 7)
        events = EventAccumulator(str(tmp_path))
        events.Reload()

    assert [(event.step, event.value) for event in events.Scalars("a/b")] == [(7, 3.0)]


def test_curves_that_are_closed_may_be_flushed_and_closed_again(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    events = board._writer.file_writer.event_writer
    board.close()

    events.flush()
    events.close()
