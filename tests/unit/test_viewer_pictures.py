"""Pictures, films, text and pages of one recording show what is in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from edge_rllib.config.load import load_scenario
from edge_rllib.experiment.watching import watch_policy
from envs.errors import ConfigError
from envs.viewer import film, page
from envs.viewer.layout import node_radius, places
from envs.viewer.picture import HEIGHT, WIDTH, Picture
from envs.viewer.recording import FIRST_DROP, Recording
from envs.viewer.style import LIGHT, drop_colour, seconds
from envs.viewer.text import TABLE_WIDTH, Screen

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BUSY_S = 20.0  # by then queues are full and tasks are dropped


@pytest.fixture(scope="module")
def recording() -> Recording:
    return watch_policy(load_scenario("ether_19_v1"), "random", 220, 0, 2**31)


def has_colour(pixels: Any, colour: str) -> bool:
    """Return whether some pixels have exactly a colour."""
    wanted = np.rint(255.0 * np.array(to_rgb(colour))).astype(int)
    return bool((np.abs(pixels.astype(int) - wanted).max(axis=2) <= 1).sum() >= 4)


@pytest.mark.parametrize("n_nodes", [1, 3, 19, 31, 100, 1000])
def test_nodes_do_not_cover_each_other(n_nodes: int) -> None:
    rng = np.random.default_rng(n_nodes)
    radius = node_radius(n_nodes, 780.0, 430.0)
    for position_m in (rng.uniform(0.0, 3.0, (n_nodes, 2)), np.zeros((n_nodes, 2))):
        at = places(position_m, 780.0, 430.0, radius)
        apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1)) + np.diag(np.full(n_nodes, np.inf))
        assert ((at >= 0.0) & (at <= (780.0, 430.0))).all()
        assert apart.min() > 1.7 * radius


def test_far_away_node_does_not_press_the_others_together_and_order_stays() -> None:
    # twelve nodes within a hundredth of the picture, and one far off
    position_m = np.append(np.random.default_rng(0).uniform(0.0, 1.0, (12, 2)), [[100.0, 100.0]], axis=0)
    at = places(position_m, 780.0, 430.0, node_radius(13, 780.0, 430.0))
    assert (np.ptp(at[:12], axis=0) > (350.0, 200.0)).all()
    for column in (0, 1):
        # the order, but for neighbours that were moved apart
        assert np.corrcoef(np.argsort(np.argsort(position_m[:, column])), at[:, column])[0, 1] > 0.9


def test_picture_shows_links_queues_tasks_and_drops(recording: Recording) -> None:
    drop_s = float(recording.endings.time_s[recording.endings.outcome >= FIRST_DROP][0])
    picture = Picture(recording)
    empty, full = picture.pixels(recording.at(0.0, 0.1, 0.1)), picture.pixels(recording.at(BUSY_S, 0.1, 0.3))
    assert empty.shape == full.shape == (HEIGHT, WIDTH, 3)
    network = slice(80, 500)  # above the legend, in which every colour appears
    for colour in (LIGHT.levels[0], LIGHT.levels[1], LIGHT.busy, LIGHT.late):
        assert not has_colour(empty[network], colour)
        assert has_colour(full[network], colour)
    dropping = picture.pixels(recording.at(drop_s + 1e-4, 0.1, 0.3))
    assert has_colour(dropping[network], drop_colour(FIRST_DROP))
    assert not has_colour(picture.pixels(recording.at(drop_s - 1e-4, 0.1, 1e-6))[network], drop_colour(FIRST_DROP))


def test_a_frame_is_the_same_whatever_was_drawn_before(recording: Recording) -> None:
    frame = recording.at(BUSY_S, 0.1, 0.3)
    used = Picture(recording)
    for time_s in (3.0, 12.0, 21.5):
        used.pixels(recording.at(time_s, 0.1, 0.3))
    np.testing.assert_array_equal(used.pixels(frame), Picture(recording).pixels(frame))


def test_film_has_all_frames_and_the_colours_of_the_pictures(recording: Recording, tmp_path: Path) -> None:
    brief = watch_policy(load_scenario("ether_19_v1"), "random", 4, 0, 2**31)
    seen = []

    def watch(frames: Any) -> Any:
        for frame in frames:
            seen.append(frame.time_s)
            yield frame

    # 4 steps of 0.1 s at a fifth of real time are 2 s of watching: 25 frames of 0.08 s after the first
    n_frames = film.save_gif(brief, tmp_path / "a.gif", 0.2, watch, (WIDTH, HEIGHT))
    assert n_frames == len(seen) == 26
    np.testing.assert_allclose(seen, np.linspace(0.0, 0.4, 26))
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (26, (WIDTH, HEIGHT), 0)
        image.seek(20)
        drawn = np.asarray(image.convert("RGB")).astype(int)
    exact = Picture(brief).pixels(film.frames(brief, 0.2, 12.5)[20]).astype(int)
    assert np.abs(drawn - exact).mean() < 5.0  # a palette of 142 colours
    with pytest.raises(ConfigError, match="take fewer --steps or a higher --speed"):
        film.save_gif(recording, tmp_path / "b.gif", 0.01)


def test_text_shows_every_node_its_tasks_and_what_just_happened(recording: Recording) -> None:
    frame = recording.at(BUSY_S, 0.1, 0.1)
    lines = Screen(recording, TABLE_WIDTH, 40).plain(frame).splitlines()
    rows = [line for line in lines if re.match(r" *\d+ [●■◆] ", line)]
    assert [row.split()[2] for row in rows] == list(recording.topology.node_name)
    tasks = [int(row.split()[4].split("/")[0]) for row in rows]
    assert tasks == (frame.waiting + frame.serving).tolist()
    sent = np.flatnonzero(frame.decisions.node != frame.decisions.what)
    assert len(sent) > 0
    assert sum("→" in row for row in rows) >= len(set(frame.decisions.node[sent].tolist())) - 1


def test_text_that_is_too_small_shows_the_fullest_nodes(recording: Recording) -> None:
    frame = recording.at(BUSY_S, 0.1, 0.1)
    lines = Screen(recording, TABLE_WIDTH, 13).plain(frame).splitlines()
    rows = [line for line in lines if re.match(r" *\d+ [●■◆] ", line)]
    fill = (frame.waiting + frame.serving) / recording.topology.queue_places
    shown = [int(row.split()[0]) for row in rows]
    assert len(rows) == 5
    assert min(fill[shown]) >= np.sort(fill)[-5]
    assert "14 emptier ones" in "".join(lines)


def test_map_of_text_has_every_node_and_tasks_on_links(recording: Recording) -> None:
    frame = recording.at(BUSY_S, 0.1, 0.1)
    lines = Screen(recording, 130, 40).plain(frame).splitlines()
    left = [line[: 130 - TABLE_WIDTH] for line in lines[2:-1]]
    signs = "".join(left)
    dropped = set(frame.endings.node[frame.endings.what >= FIRST_DROP].tolist())
    assert sum(signs.count(sign) for sign in "●■◆✖") == recording.topology.n_nodes
    assert signs.count("✖") == len(dropped)
    assert signs.count("•") + signs.count("○") > 3


@pytest.fixture(scope="module")
def html(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page.page(recording, 0.25), encoding="utf-8")
    return path


def embedded(text: str) -> dict[str, Any]:
    """Return the recording inside a page."""
    (data,) = re.findall(r'<script type="application/json" id="recording">(.*?)</script>', text, re.DOTALL)
    content: dict[str, Any] = json.loads(data)
    return content


def test_page_holds_everything_and_asks_for_nothing(recording: Recording, html: Path) -> None:
    text = html.read_text(encoding="utf-8")
    assert "://" not in text
    assert "default-src 'none'" in text
    assert re.findall(r"""(?:src|href)=["']([^"']*)["']""", text) == ["data:,"]
    data = embedded(text)
    np.testing.assert_allclose(data["steps"], recording.step_s, atol=1e-6)
    assert [node["name"] for node in data["nodes"]] == list(recording.topology.node_name)
    assert data["links"] == np.stack((recording.link_source, recording.link_target), axis=1).tolist()
    begun = recording.stretches.start_s < recording.step_s[-1]
    assert {len(column) for column in data["stretches"].values()} == {int(begun.sum())}
    ends = np.array([np.inf if end is None else end for end in data["stretches"]["end"]])
    np.testing.assert_allclose(ends, recording.stretches.end_s[begun], atol=1e-5)
    assert len(data["endings"]["time"]) == len(recording.endings.time_s) > 100
    assert len(data["decisions"]["node"]) == len(recording.decisions.node) > 100
    assert all(0.0 <= node["x"] <= 1000.0 and 0.0 <= node["y"] <= 620.0 for node in data["nodes"])


def test_a_name_cannot_break_out_of_the_page(recording: Recording) -> None:
    import dataclasses

    evil = "</script><script>alert(1)</script>\u2028<!--"
    text = page.page(dataclasses.replace(recording, policy=evil), 0.25)
    assert text.count("<script") == 2
    assert embedded(text)["policy"] == evil


def dom(path: Path, asked: str, profile: Path) -> str:
    """Return the page as a browser has it after its program has run."""
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--dump-dom", f"file://{path}#{asked}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr  # errors of the page's program, refused requests
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("time_s", [0.0, 7.77, BUSY_S])
def test_browser_shows_what_the_recording_says(recording: Recording, html: Path, tmp_path: Path, time_s: float) -> None:
    text = dom(html, f"t={time_s}&node=2&theme=dark", tmp_path)
    frame = recording.at(time_s, 0.1, 0.1)
    queues = " ".join(f"{a}+{b}" for a, b in zip(frame.waiting.tolist(), frame.serving.tolist(), strict=True))
    assert f'data-tasks="{queues} moving {len(frame.moving.link)}"' in text
    shown = dict(re.findall(r"<dt>(.*?)</dt><dd>([^<]*)", text))
    assert shown["tasks created"] == str(frame.figures.created)
    assert shown["dropped"] == str(sum(frame.figures.dropped))
    assert shown["late"] == str(frame.figures.late)
    assert shown["mean response"] == seconds(frame.figures.response_s_mean)
    about = dict(re.findall(r"<td>(.*?)</td><td>(.*?)</td>", text))
    assert about["waiting"] == str(frame.waiting[2])
    assert about["places taken"] == f"{frame.waiting[2] + frame.serving[2]} of {recording.topology.queue_places[2]}"
    assert '<html lang="en" data-theme="dark">' in text


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("added", ["nothing_of_this_name();", "fetch('data.json');"])
def test_browser_check_rejects_a_page_that_fails_or_asks_for_more(html: Path, tmp_path: Path, added: str) -> None:
    broken = tmp_path / "broken.html"
    text = html.read_text(encoding="utf-8")
    broken.write_text(text.replace('"use strict";', f'"use strict"; {added}', 1), encoding="utf-8")
    with pytest.raises(AssertionError, match="CONSOLE"):
        dom(broken, "t=1", tmp_path / "profile")
