"""``edge-rllib play``: watch a policy at work, in the terminal, as a GIF or as a page; or store what it does."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from envs.viewer.recording import Recording

_EPISODES = 16  # by default
_STEPS = {"gif": 50, "html": 200, "terminal": 100}  # by default
_FRAMES_PER_S = 12.0  # of the terminal
_PRINTED_WIDTH, _PRINTED_LINES = 136, 22
Item = TypeVar("Item")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("scenario", metavar="SCENARIO", help="name of a scenario or path of its yaml")
    parser.add_argument(
        "--policy", required=True, metavar="NAME", help="a rule, a file.py:Class, or the folder of a training result"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="of the scenario"
    )
    file = parser.add_mutually_exclusive_group()
    file.add_argument("--gif", type=Path, metavar="FILE", help="write an animated GIF instead of the terminal")
    file.add_argument("--html", type=Path, metavar="FILE", help="write a page with controls, complete in one file")
    file.add_argument("--episodes", type=Path, metavar="FILE", help="store whole episodes as .npz, to learn from")
    parser.add_argument(
        "--n-episodes", type=int, metavar="N", help=f"episodes to store; default {_EPISODES}, of {_EPISODES} worlds"
    )
    parser.add_argument(
        "--sampled", action="store_true", help="store decisions drawn from a learned policy, not the most probable"
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="steps to play; default 50 as GIF, 200 as page, else 100"
    )
    parser.add_argument(
        "--skip", type=int, default=0, metavar="N", help="steps to play before the first that is shown; default 0"
    )
    parser.add_argument("--seed", type=int, metavar="S", help="default: the result's, or 0")
    parser.add_argument("--world-id", type=int, metavar="I", help="default: the first that no training sees")
    parser.add_argument(
        "--speed", type=float, metavar="F", help="simulated seconds a second; default: a step takes 0.4 s"
    )
    parser.add_argument(
        "--frames", choices=("live", "plain"), help="of the terminal: move, or print; default live on a terminal"
    )
    parser.add_argument("--every", type=int, metavar="N", help="print every Nth step; default the last only")


def run(arguments: argparse.Namespace) -> int:
    """Play, record, and show or store."""
    from edge_rllib.config.load import load_scenario
    from edge_rllib.experiment.watching import watch_policy
    from edge_rllib.results.files import explained
    from envs.constants import EVALUATION_WORLD_ID
    from envs.errors import ConfigError

    for name in ("steps", "speed", "every", "n_episodes"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            raise ConfigError(f"--{name.replace('_', '-')} {value:g}: expected more than 0")
    if arguments.skip < 0:
        raise ConfigError(f"--skip {arguments.skip}: expected 0 or more")
    if arguments.episodes:
        return _store(arguments)
    if arguments.n_episodes or arguments.sampled:
        raise ConfigError(
            f"--{'n-episodes' if arguments.n_episodes else 'sampled'}: expected together with --episodes FILE"
        )
    medium = "gif" if arguments.gif else "html" if arguments.html else "terminal"
    path = arguments.gif or arguments.html
    if path is not None:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    scenario = load_scenario(arguments.scenario, arguments.overrides)
    world_id = EVALUATION_WORLD_ID if arguments.world_id is None else arguments.world_id
    n_steps = arguments.steps or _STEPS[medium]
    n_played = arguments.skip + n_steps
    recording = watch_policy(
        scenario, arguments.policy, n_played, arguments.seed, world_id, lambda steps: _bar(steps, "playing")
    )
    if recording.n_steps < n_played and (arguments.steps or arguments.skip):
        print(f"the episode was over after {recording.n_steps + 1} steps; all but its last are shown", file=sys.stderr)
    recording = recording.without_first(arguments.skip)
    if medium == "gif":
        _write_gif(recording, path, arguments.speed)
    elif medium == "html":
        _write_page(recording, path, arguments.speed)
    else:
        _show(recording, arguments)
    return 0


def _store(arguments: argparse.Namespace) -> int:
    """Play whole episodes into a file."""
    from edge_rllib.config.load import load_scenario
    from edge_rllib.experiment.storing import STORED_WORLD_ID, store_episodes
    from envs.errors import ConfigError

    path = arguments.episodes
    if arguments.steps or arguments.skip:
        raise ConfigError("--episodes stores whole episodes: expected --n-episodes instead of --steps and --skip")
    if path.suffix != ".npz":
        raise ConfigError(f"--episodes {path}: expected a file that ends in .npz")
    n_episodes = arguments.n_episodes or _EPISODES
    n_steps = store_episodes(
        load_scenario(arguments.scenario, arguments.overrides),
        arguments.policy,
        n_episodes,
        path,
        seed=arguments.seed,
        world_id=STORED_WORLD_ID if arguments.world_id is None else arguments.world_id,
        is_sampled=arguments.sampled,
        watch=lambda episodes: _bar(episodes, "playing"),
    )
    _tell(path, f"{n_episodes} episodes, {n_steps} steps")
    return 0


def _write_gif(recording: Recording, path: Path, speed: float | None) -> None:
    from edge_rllib.results.files import new_file
    from envs.viewer.film import save_gif, usual_speed

    with new_file(path) as part:
        n_frames = save_gif(
            recording, part, speed or usual_speed(recording), lambda frames: _bar(frames, f"drawing {path.name}")
        )
    _tell(path, f"{recording.n_steps} steps, {n_frames} frames")


def _write_page(recording: Recording, path: Path, speed: float | None) -> None:
    from edge_rllib.results.files import write_text
    from envs.viewer.film import usual_speed
    from envs.viewer.page import page

    write_text(path, page(recording, speed or usual_speed(recording)))
    _tell(path, f"{recording.n_steps} steps")


def _tell(path: Path, about: str) -> None:
    print(f"written: {path} ({about}, {path.stat().st_size / 1e6:.2f} MB)")


def _show(recording: Recording, arguments: argparse.Namespace) -> None:
    """Animate on a terminal, else print."""
    from rich.console import Console

    console = Console()
    is_live = console.is_terminal and not arguments.every if arguments.frames is None else arguments.frames == "live"
    if is_live:
        _animate(recording, console, arguments.speed)
        return
    from envs.viewer.text import Screen

    if not console.is_terminal:
        console = Console(width=_PRINTED_WIDTH)  # a file has no width of its own
    screen = Screen(recording, console.width, max(recording.topology.n_nodes + 8, _PRINTED_LINES))
    last = recording.n_steps
    shown = sorted({*range(arguments.every or last or 1, last + 1, arguments.every or last or 1), last})
    for step in shown:
        since_s = recording.step_s[step] - recording.step_s[max(step - 1, 0)]
        frame = recording.at(float(recording.step_s[step]), since_s * 1.0001, since_s * 1.0001)
        console.print(screen.show(frame), soft_wrap=False)


def _animate(recording: Recording, console: Any, speed: float | None) -> None:
    """Play frames at the right time, skipping those that the terminal is too slow for; Ctrl-C ends quietly."""
    from rich.live import Live

    from envs.viewer.film import frames, usual_speed
    from envs.viewer.text import Screen

    shown = frames(recording, speed or usual_speed(recording), _FRAMES_PER_S, most=10**6)
    screen = Screen(recording, console.width, console.height)
    begin = time.monotonic()
    try:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            place = 0
            while place < len(shown):
                live.update(screen.show(shown[place]), refresh=True)
                time.sleep(max(begin + (place + 1) / _FRAMES_PER_S - time.monotonic(), 0.0))
                place = max(place + 1, int((time.monotonic() - begin) * _FRAMES_PER_S))
            live.update(screen.show(shown[-1]), refresh=True)
    except KeyboardInterrupt:
        console.print("stopped", style="dim")


def _bar(items: Iterable[Item], label: str) -> Iterator[Item]:
    """Yield the items behind a progress bar, where there is a terminal for it."""
    from rich.console import Console
    from rich.progress import track

    items = list(items)
    console = Console(stderr=True)
    yield from track(items, label, console=console, transient=True, disable=not console.is_terminal)
