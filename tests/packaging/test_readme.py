"""README and CHANGELOG say what is there: names as registered, commands that exist, links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_rllib.cli.main import COMMANDS
from edge_rllib.config.paths import config_names
from edge_rllib.config.registry import names

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    "README.md",
    "CHANGELOG.md",
    "docs/cluster.md",
    "docs/fog_world.md",
    "docs/mec_world.md",
    "docs/learning.md",
    "docs/explaboff.md",
    "docs/federated.md",
    "docs/testbed.md",
    "docs/collective.md",
    "docs/multiuser_world.md",
]
TABLE = re.compile(r"<!-- names:.*?-->\n(.*?)<!-- end of names -->", re.DOTALL)
REGISTERED = (
    "world",
    "topology",
    "workload",
    "baseline",
    "algorithm",
    "model",
    "mutual_information",
    "mi_estimator",
    "aggregator",
    "pre_aggregator",
    "attack",
    "graph",
    "scheduler",
    "speed_profile",
    "joining_rule",
    "mutator",
    "pull_rule",
)
FILES = ("scenario", "run", "search", "testbed")


def expected_table() -> str:
    """Return the table of names; paste it into README when it has changed."""
    found = {kind: config_names(kind) for kind in FILES} | {kind: names(kind) for kind in REGISTERED}
    order = ("scenario", *REGISTERED, "run", "search", "testbed")
    rows = [f"| {kind} | {' '.join(f'`{name}`' for name in found[kind])} |\n" for kind in order]
    return "| kind | names |\n|---|---|\n" + "".join(rows)


def test_table_of_readme_is_the_registry() -> None:
    match = TABLE.search(README)

    assert match is not None
    assert match[1] == expected_table()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files(document: str) -> None:
    path = ROOT / document
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)\)", path.read_text(encoding="utf-8"))

    assert [target for target in targets if not (path.parent / target).exists()] == []
    assert targets or document not in ("README.md", "docs/cluster.md")


def test_documents_name_every_command_and_no_other() -> None:
    text = "".join((ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS)

    assert set(re.findall(r"edge-rllib ([a-z]+)\b", text)) == set(COMMANDS)


def test_make_targets_of_the_documents_exist() -> None:
    text = "".join((ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert {"train", "test"} <= set(re.findall(r"\bmake ([a-z]+)\b(?= {2,}#|`| &|$)", text)) <= targets


def test_example_of_readme_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

    shorter = (
        example.replace("n_worlds=64", "n_worlds=2")
        .replace("np.zeros((64,", "np.zeros((2,")
        .replace("print(", "figures = (")
    )
    scope: dict[str, object] = {}
    exec(shorter, scope)

    assert isinstance(scope["figures"], dict)
    assert scope["figures"]
