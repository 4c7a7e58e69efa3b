"""Files and functions stay small enough to be read in one sitting; the table of sizes is printed by `make check`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
AREAS = ("envs", "edge_rllib", "experiments", "tests")
FILE_LINES = 500
FUNCTION_LINES = 70
KERNEL_LINES = 90  # a kernel may not call what numba cannot inline cheaply, so it may be longer
KERNEL_DECORATORS = {"kernel", "inlined"}


def functions(source: str) -> Iterator[tuple[str, int, int]]:
    """Yield (name, lines, allowed lines) of each function of a source text; decorators are not counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = {
                leaf.id for decorator in node.decorator_list for leaf in ast.walk(decorator) if hasattr(leaf, "id")
            }
            allowed = KERNEL_LINES if names & KERNEL_DECORATORS else FUNCTION_LINES
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1, allowed


def excesses(path: str, source: str) -> list[str]:
    """Return one line for each thing of a file that is over the budget."""
    n_lines = len(source.splitlines())
    found = [f"{path}: {n_lines} lines, allowed {FILE_LINES}"] if n_lines > FILE_LINES else []
    for name, lines, allowed in functions(source):
        if lines > allowed:
            found.append(f"{path}: {name} has {lines} lines, allowed {allowed}")
    return found


def row(label: str, sizes: list[int]) -> str:
    p50, p90 = np.percentile(sizes, [50, 90])
    return f"{label:24} {len(sizes):6d} {sum(sizes):8d} {p50:6.0f} {p90:6.0f} {max(sizes):6d}"


def test_files_and_functions_are_within_the_budget() -> None:
    sources = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for area in AREAS
        for path in sorted((ROOT / area).rglob("*.py"))
    }
    print(f"\n{'lines of':24} {'number':>6} {'sum':>8} {'p50':>6} {'p90':>6} {'max':>6}")
    for area in AREAS:
        texts = [text for path, text in sources.items() if path.startswith(f"{area}/") and text.strip()]
        if not texts:
            continue
        print(row(f"{area} files", [len(text.splitlines()) for text in texts]))
        print(row(f"{area} functions", [lines for text in texts for _, lines, _ in functions(text)] or [0]))

    over = [line for path, text in sources.items() for line in excesses(path, text)]

    assert len(sources) > 20
    assert over == []


def source_of(n_lines: int, decorator: str = "") -> str:
    return f"{decorator}\ndef f():\n" + "    x = 1\n" * (n_lines - 1)


@pytest.mark.parametrize(
    ("source", "is_over"),
    [
        (source_of(70), False),
        (source_of(71), True),
        (source_of(90, "@kernel"), False),
        (source_of(91, "@kernel"), True),
        (source_of(91, "@inlined"), True),
        (source_of(71, "@njit"), True),
        ("x = 1\n" * 500, False),
        ("x = 1\n" * 501, True),
    ],
)
def test_budget_rejects_what_is_one_line_too_long(source: str, is_over: bool) -> None:
    assert bool(excesses("file.py", source)) is is_over
