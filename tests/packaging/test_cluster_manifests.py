"""The manifests of docs/cluster are accepted by Ray's own schema and agree with the lock file and with each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "cluster"


def locked_version(package: str) -> str:
    match = re.search(rf"^{package}==(.+)$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert match is not None
    return match[1]


def ray_up() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "ray-up.yaml").read_text(encoding="utf-8"))


def kuberay() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / "kuberay.yaml").read_text(encoding="utf-8")))


def ray_schema() -> dict[str, Any]:
    import ray.autoscaler

    path = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
    return json.loads(path.read_text(encoding="utf-8"))


def test_ray_up_manifest_fits_the_schema_of_ray() -> None:
    jsonschema.validate(ray_up(), ray_schema())


def test_schema_rejects_a_misspelt_key() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**ray_up(), "max_worker": 2}, ray_schema())


def test_ray_up_counts_its_workers() -> None:
    manifest = ray_up()

    assert manifest["max_workers"] == len(manifest["provider"]["worker_ips"])


def test_nothing_that_the_packages_need_stays_behind() -> None:
    folders = {
        path.name for top in ("envs", "edge_rllib", "tune_configs") for path in (ROOT / top).rglob("*") if path.is_dir()
    }
    left_out = set(ray_up()["rsync_exclude"])  # a pattern without a leading / fits at any depth

    assert "/results" in left_out
    assert left_out & folders <= {"__pycache__"}


def test_kuberay_job_runs_the_locked_ray_and_every_pod_mounts_the_results() -> None:
    claim, job = kuberay()
    cluster = job["spec"]["rayClusterSpec"]
    pods = [group["template"]["spec"] for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]]

    assert cluster["rayVersion"] == locked_version("ray")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert len(pods) == 2
    for pod in pods:
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert pod["containers"][0]["volumeMounts"] == [{"name": "results", "mountPath": "/results"}]


def test_kuberay_job_has_a_cpu_for_each_env_runner() -> None:
    _, job = kuberay()
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    cpus = group["replicas"] * int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    (runners,) = re.findall(r"n_env_runners=(\d+)", job["spec"]["entrypoint"])

    assert int(runners) == cpus
