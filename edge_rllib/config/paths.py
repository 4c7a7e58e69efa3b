"""Where the yaml files are: beside the code in a checkout, inside the package once it is installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from envs.errors import ConfigError, UnknownName

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def config_root() -> Path:
    """Return the folder that holds scenario/, topology/, run/ and the other kinds."""
    for folder in (_PACKAGE / "configs", _PACKAGE.parent / "tune_configs"):
        if folder.is_dir():
            return folder
    raise ConfigError(f"the configuration files are missing; expected {_PACKAGE / 'configs'}; reinstall edge-rllib")


def config_names(kind: str) -> list[str]:
    """Return the sorted stems of the yaml files of a kind."""
    return sorted(path.stem for path in (config_root() / kind).glob("*.yaml"))


def is_path(name: str) -> bool:
    """Return whether a name is meant as the path of a user's own yaml file."""
    return name.endswith((".yaml", ".yml"))


def config_file(kind: str, name: str, near: Path | None = None, where: str = "") -> Path:
    """Return the yaml file of a name, or of a path: as given, or beside the file ``near`` that mentions it."""
    if is_path(name):
        return user_file(name, near, where)
    path = config_root() / kind / f"{name}.yaml"
    if not path.is_file():
        raise UnknownName(kind, name, config_names(kind), where)
    return path


def user_file(name: str, near: Path | None, where: str = "") -> Path:
    """Return an existing file by its path: beside the file ``near`` that mentions it, else as given."""
    candidates = [Path(name).expanduser()]
    if near is not None:
        candidates.insert(0, near.parent / name)
    for path in candidates:
        if path.is_file():
            return path.resolve()
    looked = " or ".join(str(path.absolute()) for path in candidates)
    raise ConfigError(f"no file {name!r}; looked for {looked}" + (f" ({where})" if where else ""))


def placed(name: str, near: Path | None) -> str:
    """Return the full path of a file or folder: beside the file ``near`` that mentions it, else as given.

    It need not exist: results are read again after what they were made from is gone.
    """
    path = Path(name).expanduser()
    beside = None if near is None else near.parent / path
    return str((beside if beside is not None and beside.exists() else path).absolute())


def label(path: Path) -> str:
    """Return a file's name for messages: short inside the package's own folder, else the path."""
    try:
        return path.relative_to(config_root()).as_posix()
    except ValueError:
        return str(path)
