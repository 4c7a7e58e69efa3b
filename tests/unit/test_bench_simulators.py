"""What is measured beside other simulators is the same in both; nothing is timed here."""

from __future__ import annotations

import sys

import pytest

from edge_rllib.cli.main import EXIT_ERROR, main
from edge_rllib.experiment.bench import simulators


def test_missing_simpy_is_named_with_its_remedy(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "simpy", None)
    assert main(["bench", "simulators"]) == EXIT_ERROR
    expected = "edge-rllib: ConfigError: bench simulators: SimPy is not installed; pip install 'edge-rllib[dev]'\n"
    assert capsys.readouterr().err == expected


def test_both_models_of_the_mesh_have_the_response_time_of_theory(monkeypatch):
    # 25 s of M/M/1 and 1 s of transfer for 19 of 20 targets. The mean number at a node over a time t has the standard
    # error sqrt(2 rho (1 + rho) / (mu t (1 - rho)^4)) (W. Whitt, "Planning queueing simulations", 1989); over the rate
    # 0.06 and with t = 20 x 1e5 s it is 0.32 s, 1.2 %.
    monkeypatch.setattr(simulators, "_HORIZON_S", 1e5)
    monkeypatch.setattr(simulators, "_SIMPY_HORIZON_S", 1e5)
    assert round(simulators._THEORY_S, 9) == 25.95
    for model in (simulators._our_model(), simulators._simpy_model()):
        _, response_s = model(0)
        assert response_s == pytest.approx(simulators._THEORY_S, rel=0.03)
