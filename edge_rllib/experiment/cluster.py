"""Runs on a Ray cluster: the only module that knows job submission.

A job is sent the code of this installation, the resolved settings and the user's own source files, so that what runs
there is what would have run here; the cluster's machines need the dependencies alone. Only the address of the job
server is needed: the result comes back through the job's log, as lines of base64 between two marks, checked by a hash.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.job_submission import JobStatus, JobSubmissionClient

import edge_rllib
import envs
from edge_rllib.config.paths import config_root
from edge_rllib.experiment.build import settings_files
from edge_rllib.results import files
from envs.errors import EdgeError

CONFIG = files.CONFIG
FOLDER_MARK, BEGIN_MARK, PART_MARK, END_MARK = (f"edge-rllib-{word}:" for word in ("folder", "begin", "part", "end"))
PART_CHARACTERS = 16_384  # of a line of base64
MAX_PACKED_BYTES = 200_000_000  # what a log may be asked to carry; larger results need storage that machines share
POLL_S = 1.0
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass
class Gathered:
    """What a job's log said about its result."""

    folder: str | None = None  # on the cluster
    digest: str | None = None
    parts: list[str] = field(default_factory=list)
    is_complete: bool = False

    def take(self, line: str) -> bool:
        """Take in a line of the log; return whether it was about the result and not for the user."""
        word, _, rest = line.strip().partition(" ")
        if word == PART_MARK:
            self.parts.append(rest)
        elif word == FOLDER_MARK:
            self.folder = rest
        elif word == BEGIN_MARK:
            self.digest, self.parts, self.is_complete = rest, [], False
        elif word == END_MARK:
            self.is_complete = rest == self.digest
        else:
            return False
        return True

    def unpack(self, folder: Path) -> None:
        """Make the result appear in a folder; refuse one that did not arrive whole."""
        if not self.is_complete:
            raise EdgeError(
                f"the job's log holds no whole result; on the cluster it is in {self.folder or 'no folder'}"
            )
        data = base64.b64decode("".join(self.parts))
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise EdgeError("the result was damaged on its way: its hash differs; fetch it again with --fetch")
        with files.new_folder(folder) as part, tarfile.open(fileobj=io.BytesIO(data), mode="r:xz") as archive:
            archive.extractall(part, filter="data")


def packed_lines(folder: Path) -> Iterator[str]:
    """Yield a result folder as lines for a log."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=1) as archive:
        archive.add(folder, arcname=".")
    data = buffer.getvalue()
    if len(data) > MAX_PACKED_BYTES:
        raise EdgeError(
            f"the result has {len(data) / 1e6:.0f} MB packed; above {MAX_PACKED_BYTES / 1e6:.0f} MB set results to a "
            "folder on storage that all machines share"
        )
    digest, text = hashlib.sha256(data).hexdigest(), base64.b64encode(data).decode("ascii")
    yield f"{BEGIN_MARK} {digest}"
    for begin in range(0, len(text), PART_CHARACTERS):
        yield f"{PART_MARK} {text[begin : begin + PART_CHARACTERS]}"
    yield f"{END_MARK} {digest}"


def connect(address: str) -> Any:
    """Return a client of the job server at an address such as http://127.0.0.1:8265."""
    if not address.startswith(("http://", "https://")):
        raise EdgeError(f"--address {address!r}: expected the job server's http address, e.g. http://127.0.0.1:8265")
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise EdgeError(f"no Ray job server answers at {address}: {reason}") from error


def submit(client: Any, settings_text: str, name: str, python: str, into: str | None) -> str:
    """Send code and settings, start the job and return its id."""
    logging.getLogger("ray.dashboard").setLevel(logging.ERROR)  # tells how it packs the folder
    logging.getLogger("ray._private.runtime_env").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="edge-rllib-job-") as temporary:
        stage(Path(temporary), settings_text)
        options = [f"--into {into}"] if into else []
        return str(
            client.submit_job(
                entrypoint=" ".join([python, "-m", "edge_rllib.cli.job", CONFIG, *options]),
                runtime_env={
                    "working_dir": temporary,
                    "env_vars": {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"},
                },
                metadata={"run": name, "edge_rllib": edge_rllib.__version__, "ray": ray.__version__},
            )
        )


def stage(folder: Path, settings_text: str) -> None:
    """Fill a folder with what a job needs: both packages, the configuration files, settings and users' sources."""
    for package in (edge_rllib, envs):
        shutil.copytree(Path(str(package.__file__)).parent, folder / package.__name__, ignore=_IGNORED)
    shutil.copytree(config_root(), folder / "edge_rllib" / "configs", dirs_exist_ok=True)
    settings_files(settings_text, folder)


def follow(client: Any, job_id: str, show: Callable[[str], None]) -> tuple[Any, Gathered]:
    """Show the log of a job until it ends; return its status and what the log said about the result.

    The whole log is asked for each time: a run writes some lines a minute, and its result only at the end.
    """
    gathered, n_seen = Gathered(), 0
    while True:
        status = client.get_job_status(job_id)
        is_over = status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)
        text = client.get_job_logs(job_id)
        lines = text.splitlines() if is_over else text.split("\n")[:-1]  # the last line may still grow
        for line in lines[n_seen:]:
            if not gathered.take(line):
                show(line)
        n_seen = max(n_seen, len(lines))
        if is_over:
            return status, gathered
        time.sleep(POLL_S)


def gather(client: Any, job_id: str) -> Gathered:
    """Return what the log of a job that ended says about its result."""
    gathered = Gathered()
    for line in _known(client, job_id).get_job_logs(job_id).splitlines():
        gathered.take(line)
    return gathered


def stop(client: Any, job_id: str) -> None:
    """Ask a job to stop; a run saves a checkpoint first, as far as Ray's grace period allows."""
    _known(client, job_id).stop_job(job_id)


def _known(client: Any, job_id: str) -> Any:
    jobs = [job.submission_id for job in client.list_jobs() if job.submission_id]
    if job_id not in jobs:
        raise EdgeError(f"the cluster knows no job {job_id!r}; it knows: {', '.join(jobs) or 'none'}")
    return client
