"""The two packages offer few names, and each of them exists."""

from __future__ import annotations

import importlib

import pytest


@pytest.mark.parametrize(("package", "most"), [("envs", 20), ("edge_rllib", 15)])
def test_public_names_are_few_sorted_and_there(package: str, most: int) -> None:
    module = importlib.import_module(package)

    assert 1 <= len(module.__all__) <= most
    assert list(module.__all__) == sorted(set(module.__all__))
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_unknown_name_of_the_lazy_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'envs' has no attribute 'mke'"):
        importlib.import_module("envs").mke  # noqa: B018


def test_lazy_names_are_those_of_their_modules() -> None:
    import envs
    from envs.scenario import make
    from envs.world import World

    assert envs.make is make
    assert envs.World is World
    assert set(envs.__all__) <= set(dir(envs))
