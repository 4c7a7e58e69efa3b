"""Studies keep their runs apart, do none twice, and refuse to mix settings."""

from __future__ import annotations

import fcntl
from pathlib import Path

import numpy as np
import pytest
import yaml

from edge_rllib.config.load import dump
from edge_rllib.experiment.study import COST, JUDGED, Cell, Study, _locked
from edge_rllib.results import files
from envs.errors import ConfigError


def cell(name: str = "one", worlds: int = 2, **overrides: object) -> Cell:
    return Cell(name, f"run {name}", "run/quickstart", overrides, judging_seed=7, worlds=worlds)


def finish(study: Study, each: Cell, rows: str = "") -> Path:
    """Leave behind what a finished run does: two judged worlds of three sums."""
    folder = study.folder(each)
    folder.mkdir(parents=True)
    files.write_text(folder / files.CONFIG, dump(each.settings()))
    files.write_text(folder / files.PROGRESS, rows)
    files.write_json(folder / files.STATUS, {"status": "finished", "best": 1.5})
    files.write_json(folder / COST, {"cpu_s": 3.0, "wall_s": 12.0})
    np.savez_compressed(folder / JUDGED, learned=np.arange(6.0).reshape(2, 3))
    return folder


def test_cells_with_equal_names_are_one_run(tmp_path: Path) -> None:
    study = Study(tmp_path, [cell("a"), cell("b"), cell("a")])

    assert [each.name for each in study.cells] == ["a", "b"]


def test_a_judged_run_is_finished_and_read_with_the_share_of_a_core_that_it_had(tmp_path: Path) -> None:
    study = Study(tmp_path, [cell("a"), cell("b")])
    finish(study, study.cells[0], '{"iteration": 1, "env_steps": 10}\n')

    judged = study.read(study.cells[0])

    assert [each.name for each in study.unfinished()] == ["b"]
    assert study.read(study.cells[1]) is None
    assert judged is not None
    assert judged.sums.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert judged.best == 1.5
    assert judged.core_share == 0.25  # 3 s of 12 s
    assert judged.rows == [{"iteration": 1, "env_steps": 10}]


def test_a_run_that_was_judged_on_other_worlds_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, [cell(worlds=3)])
    finish(study, study.cells[0])

    with pytest.raises(ConfigError, match="2 worlds, expected 3"):
        study.read(study.cells[0])


def test_runs_of_other_settings_are_refused_with_both_values(tmp_path: Path) -> None:
    finish(Study(tmp_path, []), cell(seed=1))

    with pytest.raises(ConfigError, match=r"made with other settings \('seed: 1', now 'seed: 2'\)"):
        Study(tmp_path, [cell(seed=2)]).check_settings()


def test_a_run_that_was_made_before_a_key_existed_has_its_default(tmp_path: Path) -> None:
    study = Study(tmp_path, [cell()])
    path = finish(study, study.cells[0]) / files.CONFIG
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert tree.pop("mutual_information") == "none"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")

    study.check_settings()


def test_a_run_that_somebody_else_plays_is_left_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    with _locked(folder) as is_mine, _locked(folder) as is_mine_too:
        assert is_mine
        assert not is_mine_too
    with _locked(folder) as is_mine_again:
        assert is_mine_again
    with (folder.parent / ".a.lock").open("w") as file:  # as another process would
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with _locked(folder) as is_mine:
            assert not is_mine
