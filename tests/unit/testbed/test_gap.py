"""The report of the gap: folders are paired or refused, figures are those of small runs worked by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rllib.cli.main import main
from edge_rllib.results.files import ResultError
from edge_rllib.testbed import gap
from edge_rllib.testbed.gap_picture import draw
from edge_rllib.testbed.gap_runs import pairs, read
from edge_rllib.testbed.gap_text import text
from edge_rllib.testbed.scenarios import dump, load_scenario

EPOCHS, DEVICES = 4, 2
SETTINGS = (f"n_epochs={EPOCHS}", f"n_devices={DEVICES}", "epoch_s=1.0", "drain_s=2.0", "deadline_s=3.0")
END_S = EPOCHS * 1.0 + 2.0

Times = Sequence[float | None]  # one an (epoch, device), epoch by epoch; None: in flight


def write(
    folder: Path,
    policy: str,
    episodes: Sequence[Times],
    is_simulated: bool,
    target: int = 1,
    price: float = 1.0,
    settings: Sequence[str] = (),
    summary: Mapping[str, Any] | None = None,
) -> Path:
    """Write a result whose tasks cost their response time times a price, one second a task in flight."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump(load_scenario("testbed_ci", [*SETTINGS, *settings])), encoding="utf-8")
    tasks, rows = [], []
    for number, times in enumerate(episodes):
        of_episode = {"episode": number} if is_simulated else {}
        for place, response_s in enumerate(times):
            epoch, device = divmod(place, DEVICES)
            result_s = None if response_s is None else epoch + response_s
            is_late = response_s is None or response_s > 3.0
            cost = price * (1.0 if response_s is None else response_s)
            tasks.append(
                {"device": device, "epoch": epoch, "created_s": float(epoch), "result_s": result_s, "is_late": is_late}
                | {"cost": cost, "n_frames": 2, **of_episode}
            )
        for epoch in range(EPOCHS):
            cuts = [0 if target else 4] * DEVICES
            rows.append({"epoch": epoch, "targets": [target] * DEVICES, "cuts": cuts, **of_episode})
    own = {"policy": policy, "tier": "simulated" if is_simulated else 0, "scale": 1.0, **(summary or {})}
    for name, value in (("tasks.json", tasks), ("epochs.json", rows), ("summary.json", own)):
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return folder


def flat(response_s: float) -> Times:
    return [response_s] * (EPOCHS * DEVICES)


def both(tmp_path: Path, policy: str, simulated_s: float, real_s: float) -> tuple[Path, Path]:
    """Return a simulated and a real folder of constant response times."""
    return (
        write(tmp_path / f"sim_{policy}", policy, [flat(simulated_s)] * 3, is_simulated=True),
        write(tmp_path / f"real_{policy}", policy, [flat(real_s)], is_simulated=False),
    )


def compared(tmp_path: Path, values: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """Return the comparison of policies with (simulated, real) response times."""
    folders = [both(tmp_path, policy, *times_s) for policy, times_s in values.items()]
    return gap.compare([sim for sim, _ in folders], [real for _, real in folders], tmp_path / "gap")


def test_constant_response_times_have_the_gaps_that_one_can_see(tmp_path: Path) -> None:
    found = compared(tmp_path, {"edge": (1.5, 1.0), "local": (4.0, 2.0)})

    edge, local = found["policies"]["edge"], found["policies"]["local"]
    assert edge["response_time_s_mean"]["gap"]["value"] == pytest.approx(0.5)
    assert edge["cost_per_task"]["gap_frac"] == pytest.approx({"value": 0.5, "low": 0.5, "high": 0.5})
    assert edge["distance"]["wasserstein_s"] == pytest.approx(0.5)
    assert edge["distance"]["wasserstein_over_real_mean"] == pytest.approx(0.5)
    assert edge["distance"]["ks_statistic"] == 1.0
    # 4 s after epochs 2 and 3 is past the end at 6 s only for the last: it waited 3 s; all are later than 3 s
    assert local["late_frac"]["simulated"]["value"] == 1.0
    assert local["tasks"]["simulated"] == {"episodes": 3, "tasks": 24, "in_flight": 6, "lost": 0}
    assert local["response_time_s_mean"]["simulated"]["value"] == pytest.approx((3 * 4.0 + 3.0) / 4)
    assert found["over_policies"]["cost_gap_frac"]["mean"]["value"] == pytest.approx((0.5 + 1.0) / 2)
    assert found["over_policies"]["cost_gap_frac"]["worst"]["value"] == pytest.approx(1.0)
    assert found["over_policies"]["cost_gap_frac"]["worst_policy"] == "local"


def test_tasks_in_flight_are_cut_at_the_same_time_on_both_sides(tmp_path: Path) -> None:
    # the last task of device 1, created at 3 s, is not done at 6 s: on the testbed nobody did it, and in the
    # simulation it takes until 9 s; both count 3 s and as in flight
    cut: Times = [*[1.0] * 7, None]
    beyond: Times = [*[1.0] * 7, 6.0]
    sim = write(tmp_path / "sim", "edge", [beyond], is_simulated=True)
    real = write(tmp_path / "real", "edge", [cut], is_simulated=False)

    found = gap.compare([sim], [real], tmp_path / "gap")["policies"]["edge"]

    assert found["distance"]["wasserstein_s"] == 0.0
    for side in ("simulated", "real"):
        assert found["tasks"][side]["in_flight"] == 1
        assert found["response_time_s_mean"][side]["value"] == pytest.approx((7 * 1.0 + (END_S - 3.0)) / 8)
        assert found["late_frac"][side]["value"] == pytest.approx(1 / 8)


def test_quantile_among_tasks_in_flight_is_said_to_be_a_lower_end(tmp_path: Path) -> None:
    times: Times = [1.0, 1.0, 1.0, 1.0, 1.0, None, None, None]
    sim = write(tmp_path / "sim", "edge", [flat(1.0)], is_simulated=True)
    real = write(tmp_path / "real", "edge", [times], is_simulated=False)

    found = gap.compare([sim], [real], tmp_path / "gap")

    assert found["policies"]["edge"]["response_time_s_p95"]["real"]["is_at_least"]
    assert not found["policies"]["edge"]["response_time_s_p95"]["simulated"]["is_at_least"]
    assert "at least 3" in text(found)


def test_repeats_of_a_policy_are_pooled_and_compared_among_themselves(tmp_path: Path) -> None:
    sim = write(tmp_path / "sim", "edge", [flat(2.0)], is_simulated=True)
    real = [write(tmp_path / f"real_{s}", "edge", [flat(s)], is_simulated=False) for s in (1.0, 2.0, 3.0)]

    found = gap.compare([sim], real, tmp_path / "gap")["policies"]["edge"]

    assert found["tasks"]["real"]["episodes"] == 3
    estimate = found["response_time_s_mean"]["real"]
    assert estimate["value"] == pytest.approx(2.0)
    assert estimate["low"] < 1.5 and estimate["high"] > 2.5  # runs differ, epochs of a run do not
    # couples of 1, 2 and 3 s are 1, 2 and 1 s apart
    assert found["among_real"] == pytest.approx({"wasserstein_s": 4 / 3, "same_target": 1.0, "same_both": 1.0})


def test_order_of_policies_decides_the_rank_correlation(tmp_path: Path) -> None:
    found = compared(tmp_path, {"edge": (1.0, 1.1), "local": (2.0, 2.1), "random": (2.5, 2.6)})
    turned = compared(tmp_path / "turned", {"edge": (2.5, 1.1), "local": (2.0, 2.1), "random": (1.0, 2.6)})

    for name in ("cost_per_task", "response_time_s_mean"):
        assert found["over_policies"]["ranks"][name]["spearman"]["value"] == pytest.approx(1.0)
        assert turned["over_policies"]["ranks"][name]["kendall"]["value"] == pytest.approx(-1.0)
    assert [row["is_met"] for row in found["over_policies"]["targets"].values()] == [True, True, True]
    assert [row["is_met"] for row in turned["over_policies"]["targets"].values()] == [False, False, False]


def test_two_policies_have_no_order_worth_a_number(tmp_path: Path) -> None:
    found = compared(tmp_path, {"edge": (1.0, 1.0), "local": (2.0, 2.0)})

    assert found["over_policies"]["ranks"]["cost_per_task"] == {"spearman": None, "kendall": None}
    assert found["over_policies"]["targets"]["rank correlation of cost"]["is_met"] is None
    assert "An order needs three policies or more" in text(found)


def test_decisions_agree_by_device_and_epoch(tmp_path: Path) -> None:
    sim = write(tmp_path / "sim", "edge", [flat(1.0)] * 2, is_simulated=True)
    real = write(tmp_path / "real", "edge", [flat(1.0)], is_simulated=False)
    rows = json.loads((real / "epochs.json").read_text(encoding="utf-8"))
    rows[0]["targets"], rows[0]["cuts"] = [0, 1], [4, 1]  # of 8 decisions one has another target, two another cut
    (real / "epochs.json").write_text(json.dumps(rows), encoding="utf-8")

    found = gap.compare([sim], [real], tmp_path / "gap")["policies"]["edge"]["agreement"]

    assert found == {"same_target": 7 / 8, "same_both": 6 / 8}


def test_report_and_picture_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sims, reals = zip(
        *(both(tmp_path, policy, *times_s) for policy, times_s in (("edge", (1.0, 1.1)), ("local", (4.0, 2.0)))),
        strict=True,
    )
    alone = write(tmp_path / "alone", "random", [flat(1.0)], is_simulated=True)
    into = tmp_path / "gap"
    arguments = ["--simulated", *map(str, [*sims, alone]), "--real", *map(str, reals), "--into", str(into)]

    assert main(["testbed", "compare", *arguments]) == 0

    said = capsys.readouterr().out
    found = json.loads((into / gap.GAP).read_text(encoding="utf-8"))
    assert (into / gap.GAP_TEXT).read_text(encoding="utf-8") in said
    assert set(found["policies"]) == {"edge", "local"}
    assert found["notes"] == ["random is left out: it is only simulated"]
    assert "indicative only" in said
    assert (into / "figures" / gap.GAP_PICTURE).read_bytes().startswith(b"\x89PNG")


def test_picture_has_a_point_and_a_panel_a_policy(tmp_path: Path) -> None:
    values = {"edge": (1.0, 1.1), "local": (4.0, 2.0), "random": (2.0, 2.0), "round_robin": (1.5, 1.6)}
    folders = [both(tmp_path, policy, *times_s) for policy, times_s in values.items()]
    paired, _ = pairs([sim for sim, _ in folders], [real for _, real in folders])
    found = gap.figures(paired)

    costs, *panels = draw(found, paired).axes

    points = {container.get_label(): container for container in costs.containers}
    assert set(points) == set(values)
    x, y = points["edge"][0].get_data()
    assert (float(x[0]), float(y[0])) == pytest.approx((1.1, 1.0))
    shown = [axes for axes in panels if axes.get_visible()]
    assert [axes.get_title().partition(":")[0] for axes in shown] == list(values)
    for axes, pair in zip(shown, paired, strict=True):
        for line, side in zip(axes.lines, (pair.real, pair.simulated), strict=False):
            ended = 1.0 - side.is_in_flight().mean()
            assert line.get_ydata()[-1] == pytest.approx(ended)


def test_busy_machine_and_lost_tasks_are_noted(tmp_path: Path) -> None:
    sim = write(tmp_path / "sim", "edge", [flat(1.0)], is_simulated=True)
    speeds = {"device_speed_frac": 0.7, "server_speed_frac": None}
    real = write(tmp_path / "real", "edge", [flat(1.0)], is_simulated=False, summary=speeds)
    tasks = json.loads((real / "tasks.json").read_text(encoding="utf-8"))
    (real / "tasks.json").write_text(json.dumps(tasks[:-2]), encoding="utf-8")

    notes = gap.compare([sim], [real], tmp_path / "gap")["notes"]

    assert len(notes) == 2
    assert "edge, real: devices had 70 % of the speed" in notes[0]
    assert "2 tasks have no record" in notes[1]


def test_tasks_that_are_not_the_same_are_noted(tmp_path: Path) -> None:
    sim, real = both(tmp_path, "edge", 1.0, 1.0)
    tasks = json.loads((real / "tasks.json").read_text(encoding="utf-8"))
    tasks[0]["n_frames"], tasks[5]["n_frames"] = 3, 1
    (real / "tasks.json").write_text(json.dumps(tasks[:-1]), encoding="utf-8")

    notes = gap.compare([sim], [real], tmp_path / "gap")["notes"]

    assert "2 of 7 tasks have another number of frames" in notes[0]


def test_scenarios_that_differ_are_refused_but_for_their_name(tmp_path: Path) -> None:
    real = write(tmp_path / "real", "edge", [flat(1.0)], is_simulated=False)
    renamed = write(tmp_path / "renamed", "edge", [flat(1.0)], is_simulated=True, settings=["name=mine"])
    slower = write(tmp_path / "slower", "edge", [flat(1.0)], is_simulated=True, settings=["link.delay_s=0.1"])

    paired, alone = pairs([renamed], [real])
    with pytest.raises(ResultError, match=r"slower has link\.delay_s = 0\.1 and .*real has 0\.005; expected the same"):
        pairs([slower], [real])

    assert [pair.policy for pair in paired] == ["edge"]
    assert alone == []


def test_folder_of_the_wrong_side_or_without_a_partner_is_refused(tmp_path: Path) -> None:
    sim, real = both(tmp_path, "edge", 1.0, 1.0)
    other = write(tmp_path / "other", "local", [flat(1.0)], is_simulated=False)

    with pytest.raises(ResultError, match=r"--real: .*sim_edge is a simulation; it belongs to --simulated"):
        pairs([sim], [sim])
    with pytest.raises(ResultError, match=r"--simulated: .*real_edge is a run of the testbed; it belongs to --real"):
        pairs([real], [real])
    with pytest.raises(ResultError, match="no policy is on both sides: simulated edge; real local"):
        pairs([sim], [other])
    with pytest.raises(ResultError, match="real_edge is named twice"):
        pairs([sim], [real, real])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tasks.json", "[]", "tasks.json: expected a list of rows"),
        ("tasks.json", '[{"device": 0}]', "tasks.json: a row without 'epoch'"),
        ("epochs.json", '{"epoch": 1}', "epochs.json: expected a list of rows"),
        ("epochs.json", '[{"epoch": 0, "targets": [1], "cuts": [0]}]', "1 targets and 1 cuts; expected one for each"),
        ("epochs.json", '[{"epoch": 0, "targets": [1, 1], "cuts": [0, 0]}]', "a task of epoch 1, episode 0, which"),
        ("summary.json", "{}", "summary.json: no key 'policy'"),
        ("config.yaml", "n_epochs: 4", "config.yaml: no key 'n_devices'"),
    ],
)
def test_folder_that_is_not_whole_is_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "real", "edge", [flat(1.0)], is_simulated=False)
    (folder / name).write_text(content, encoding="utf-8")

    with pytest.raises(ResultError, match=message):
        read(folder)


def test_equal_runs_have_no_gap(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    times: Times = rng.uniform(0.5, 2.0, EPOCHS * DEVICES).tolist()
    sim = write(tmp_path / "sim", "edge", [times], is_simulated=True)
    real = write(tmp_path / "real", "edge", [times], is_simulated=False)

    found = gap.compare([sim], [real], tmp_path / "gap")["policies"]["edge"]

    assert found["distance"]["wasserstein_s"] == 0.0
    assert found["distance"]["ks_p_value"] == pytest.approx(1.0)
    gap_frac = found["cost_per_task"]["gap_frac"]
    assert gap_frac["value"] == 0.0
    assert gap_frac["low"] < 0.0 < gap_frac["high"]
