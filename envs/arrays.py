"""Array types with declared axes, and the checks and allocations derived from the declarations.

A record is a ``NamedTuple`` or a dataclass whose array fields read ``Annotated[F8, "B M", "meaning"]``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from envs.axes import AXES
from envs.errors import ConfigError

F4 = npt.NDArray[np.float32]
F8 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint64]
BOOL = npt.NDArray[np.bool_]
ROWS = npt.NDArray[np.void]  # rows with named fields: ``Annotated[ROWS, "B P", "meaning", row_type(Fields)]``

_DTYPES: dict[Any, np.dtype[Any]] = {
    F4: np.dtype(np.float32),
    F8: np.dtype(np.float64),
    I8: np.dtype(np.int64),
    U8: np.dtype(np.uint64),
    BOOL: np.dtype(np.bool_),
}

Record = TypeVar("Record")


class ArrayError(TypeError):
    """An array has the wrong dtype, rank or size for its declared axes."""


def declared_arrays(record_type: type) -> Iterator[tuple[str, np.dtype[Any], tuple[str, ...], str]]:
    """Yield ``(field, dtype, axes, meaning)`` of each array field of a record type, in order."""
    hints = get_type_hints(record_type, vars(sys.modules[record_type.__module__]), include_extras=True)
    for name, hint in hints.items():
        if get_origin(hint) is not Annotated:
            continue
        array_type, axes, meaning, *row = get_args(hint)
        unknown = [axis for axis in axes.split() if axis not in AXES]
        if unknown:
            raise ArrayError(f"{record_type.__name__}.{name}: unknown axis {unknown[0]!r}; known: {' '.join(AXES)}")
        yield name, row[0] if row else _DTYPES[array_type], tuple(axes.split()), meaning


def row_type(fields: type) -> np.dtype[Any]:
    """Return the dtype of rows whose fields are declared in a class as ``Annotated[float | int, "meaning"]``.

    What belongs together lies together in memory: an event reads one row, not a cache line for each field.
    """
    hints = get_type_hints(fields, include_extras=True)
    kinds = {float: np.float64, int: np.int64}
    return np.dtype([(name, kinds[get_args(hint)[0]]) for name, hint in hints.items()])


def allocate(record_type: type[Record], sizes: Mapping[str, int], **others: Any) -> Record:
    """Return a record of zeros whose axes have the given sizes; ``others`` are its fields that are not arrays."""
    arrays: dict[str, Any] = {}
    for name, dtype, axes, _ in declared_arrays(record_type):
        array = np.zeros([sizes[axis] for axis in axes], dtype)
        arrays[name] = array.view(np.recarray) if dtype.names else array
    return record_type(**arrays, **others)


def as_row(scalars: Record) -> Record:
    """Return a NamedTuple of scalars as one row of memory: kernels compile faster with one pointer than 50 values."""
    kinds = {bool: np.bool_, int: np.int64, float: np.float64}
    fields = scalars._asdict()  # type: ignore[attr-defined]
    dtype = np.dtype([(name, kinds[type(value)]) for name, value in fields.items()])
    row: Record = np.array([tuple(fields.values())], dtype).view(np.recarray)[0]
    return row


def check_entries(saved: Any, names: Iterable[str], label: str) -> None:
    """Raise ConfigError unless ``saved`` has the entries of a snapshot; it may have more."""
    if not isinstance(saved, Mapping):
        raise ConfigError(f"{label}: expected entries by name, got {type(saved).__name__}")
    for name in names:
        if name not in saved:
            raise ConfigError(f"{label}: {name!r} is missing; it has: {', '.join(map(str, saved)) or 'nothing'}")


def check_key(key: Any, label: str) -> None:
    """Raise ConfigError unless a saved random key is one."""
    if isinstance(key, bool) or not isinstance(key, (int, np.integer)) or not 0 <= int(key) < 2**64:
        raise ConfigError(f"{label}: key is {key!r}; expected a whole number from 0 to 2**64 - 1")


def check_saved(
    saved: Any, own: Mapping[str, npt.NDArray[Any]], label: str, sizes: Mapping[str, tuple[int, ...]] | None = None
) -> None:
    """Raise ConfigError unless ``saved`` holds the arrays that ``own`` holds: same names, dtypes and shapes.

    ``sizes`` are the expected shapes where they differ from those of ``own``.
    """
    if not isinstance(saved, Mapping):
        raise ConfigError(f"{label}: expected arrays by name, got {type(saved).__name__}")
    for name in [*own, *saved]:
        if name not in own or name not in saved:
            state = "is missing" if name in own else "is unknown"
            raise ConfigError(f"{label}: {name!r} {state}; expected: {', '.join(own)}")
    for name, array in own.items():
        shape = (sizes or {}).get(name, array.shape)
        given = saved[name]
        if not isinstance(given, np.ndarray):
            raise ConfigError(f"{label}: {name} is of type {type(given).__name__}; expected an array of {shape}")
        if given.shape != shape:
            raise ConfigError(f"{label}: {name} has shape {given.shape}; expected {shape}")
        if given.dtype != array.dtype:
            raise ConfigError(f"{label}: {name} has dtype {given.dtype}; expected {array.dtype}")


def check_record(record: object, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return the axis sizes of a record; raise ArrayError for a wrong dtype, rank, or a second size of an axis."""
    known = dict(sizes or {})
    label = type(record).__name__
    for name, dtype, axes, _ in declared_arrays(type(record)):
        array = getattr(record, name)
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            given = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise ArrayError(f"{label}.{name}: expected an array of {dtype}, got {given}")
        if array.ndim != len(axes):
            raise ArrayError(f"{label}.{name}: expected axes {' '.join(axes)}, got shape {array.shape}")
        for axis, size in zip(axes, array.shape, strict=True):
            if known.setdefault(axis, size) != size:
                raise ArrayError(f"{label}.{name}: axis {axis} has size {size}, elsewhere {known[axis]}")
    return known
