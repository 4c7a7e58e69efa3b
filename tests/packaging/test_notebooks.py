"""Notebooks run from the first cell to the last, hold no outputs, and have no function longer than ten lines."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
FUNCTION_LINES = 10
CELL_SECONDS = 120
SHORTER = (
    r"^TRAIN_STEPS = .*$",
    "TRAIN_STEPS = 20_000",
)  # one episode of 32 worlds: shows that it runs, not that it learns


def read(name: str) -> Any:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    return notebook


def python_of(cell: Any) -> str:
    """Return the python of a code cell; a file that a cell writes counts, a shell line does not."""
    source: str = cell.source
    if source.startswith("%%writefile") and not source.splitlines()[0].endswith(".py"):
        return ""
    return "\n".join(line for line in source.splitlines() if not line.startswith(("%", "!")))


def long_functions(source: str) -> list[str]:
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > FUNCTION_LINES]


def play(notebook: Any, folder: Path) -> int:
    """Execute a notebook in a folder; return how many code cells ran. The first error of a cell is raised."""
    NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    return sum(cell.cell_type == "code" and cell.execution_count is not None for cell in notebook.cells)


def test_both_notebooks_are_there() -> None:
    assert NOTEBOOKS == ["01_first_run.ipynb", "02_your_own_scenario.ipynb"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_are_stripped(name: str) -> None:
    code = [cell for cell in read(name).cells if cell.cell_type == "code"]

    assert len(code) >= 5
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_function_is_longer_than_ten_lines(name: str) -> None:
    found = [
        function
        for cell in read(name).cells
        if cell.cell_type == "code"
        for function in long_functions(python_of(cell))
    ]

    assert found == []


def test_length_check_counts_the_lines_of_a_function() -> None:
    assert long_functions("def f():\n" + "    x = 1\n" * 9) == []
    assert long_functions("def f():\n" + "    x = 1\n" * 10) == ["f"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_with_a_short_training(name: str, tmp_path: Path) -> None:
    notebook = read(name)
    for cell in notebook.cells:
        cell.source = re.sub(*SHORTER, cell.source, flags=re.MULTILINE)

    assert play(notebook, tmp_path) == sum(cell.cell_type == "code" for cell in notebook.cells)


@pytest.mark.slow
def test_first_run_trains_as_it_is_written(tmp_path: Path) -> None:
    notebook = read("01_first_run.ipynb")

    assert re.search(SHORTER[0], "\n".join(cell.source for cell in notebook.cells), re.MULTILINE)
    assert play(notebook, tmp_path) == sum(cell.cell_type == "code" for cell in notebook.cells)
