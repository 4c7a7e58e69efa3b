"""Declared arrays: what is derived from a declaration, and what the check refuses."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import pytest

from envs.arrays import BOOL, F4, F8, I8, U8, ArrayError, allocate, check_record, declared_arrays
from envs.axes import AXES


class Sample(NamedTuple):
    load: Annotated[F8, "B M", "some load"]
    node: Annotated[I8, "B", "some node"]
    is_full: Annotated[BOOL, "B M", "some flag"]


class Mixed(NamedTuple):
    label: str
    keys: Annotated[U8, "B", "some keys"]
    seen: Annotated[F4, "B F", "some features"]


@dataclass
class Misspelt:
    load: Annotated[F8, "B y", "an axis that is not in the legend"]


def sample(**changes):
    arrays = {"load": np.zeros((2, 3)), "node": np.zeros(2, np.int64), "is_full": np.zeros((2, 3), np.bool_)}
    return Sample(**{**arrays, **changes})


def test_declaration_is_read_in_order():
    assert list(declared_arrays(Sample)) == [
        ("load", np.dtype("f8"), ("B", "M"), "some load"),
        ("node", np.dtype("i8"), ("B",), "some node"),
        ("is_full", np.dtype("?"), ("B", "M"), "some flag"),
    ]


def test_allocate_gives_zeros_of_the_declared_type_and_passes_the_rest_on():
    record = allocate(Mixed, {"B": 2, "F": 3, "K": 9}, label="x")
    assert record.label == "x"
    assert (record.keys.dtype, record.keys.shape) == (np.uint64, (2,))
    assert (record.seen.dtype, record.seen.shape) == (np.float32, (2, 3))
    assert not record.keys.any()
    assert not record.seen.any()


def test_check_returns_the_sizes_of_the_axes():
    assert check_record(sample()) == {"B": 2, "M": 3}
    assert check_record(sample(), {"B": 2, "K": 5}) == {"B": 2, "M": 3, "K": 5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"load": np.zeros((2, 3), np.float32)}, r"Sample.load: expected an array of float64, got float32"),
        ({"node": np.zeros(2, np.int32)}, r"Sample.node: expected an array of int64, got int32"),
        ({"load": [[0.0]]}, r"Sample.load: expected an array of float64, got list"),
        ({"load": np.zeros(2)}, r"Sample.load: expected axes B M, got shape \(2,\)"),
        ({"node": np.zeros(3, np.int64)}, r"Sample.node: axis B has size 3, elsewhere 2"),
        ({"is_full": np.zeros((2, 4), np.bool_)}, r"Sample.is_full: axis M has size 4, elsewhere 3"),
    ],
)
def test_check_refuses(changes, message):
    with pytest.raises(ArrayError, match=message):
        check_record(sample(**changes))


def test_check_refuses_another_size_than_the_callers():
    with pytest.raises(ArrayError, match=r"Sample.load: axis B has size 2, elsewhere 4"):
        check_record(sample(), {"B": 4})


def test_axis_outside_the_legend_is_refused():
    with pytest.raises(ArrayError, match=r"Misspelt.load: unknown axis 'y'; known: B N M"):
        list(declared_arrays(Misspelt))


def test_legend_has_one_letter_an_axis():
    assert all(len(axis) in (1, 2) and axis.istitle() and meaning for axis, meaning in AXES.items())
