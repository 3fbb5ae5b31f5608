"""What installs and publishes the package agrees with pyproject.toml, and refuses what must not be published."""

import importlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tomllib
import types
import zipfile
from pathlib import Path

import jsonschema
import pytest
import yaml

from snellen.cli import app as command_line
from snellen.version import __version__

ROOT = Path(__file__).parents[1]
PACKAGING = ROOT / "packaging"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    monkeypatch.syspath_prepend(str(PACKAGING))
    return importlib.import_module(name)


def loaded(path: str) -> dict:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


# -- distributions -----------------------------------------------------------------------------------------------------


def wheel(folder: Path, names: list[str]) -> Path:
    path = folder / "snellen-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


WHOLE = [
    *("snellen/py.typed", "snellen/assets/fashion-mnist-2000.npz", "snellen/schemas/report.schema.json"),
    *("snellen/results/a.json", "snellen/auditing/templates/report.html.j2", "snellen/desk/static/desk.js"),
    *("snellen/systems/a/system.toml", "snellen-0.1.0.dist-info/licenses/LICENSE"),
    *("snellen-0.1.0.dist-info/licenses/NOTICE", "snellen-0.1.0.dist-info/entry_points.txt"),
]


def test_a_whole_wheel_may_be_published_and_one_without_any_of_its_parts_may_not(tmp_path, monkeypatch):
    build = script("build_distributions", monkeypatch)
    assert build.problems_of(wheel(tmp_path, WHOLE)) == []
    assert len(build.NEEDED) == len(WHOLE)
    for lost in WHOLE:
        assert build.problems_of(wheel(tmp_path, [one for one in WHOLE if one != lost])) != [], lost


@pytest.mark.parametrize(
    "name", ["tests/test_a.py", "snellen/a.pkl", "snellen/weights.pt", "snellen/__pycache__/a.pyc"]
)
def test_tests_and_files_that_run_code_are_refused(tmp_path, monkeypatch, name):
    build = script("build_distributions", monkeypatch)
    assert build.problems_of(wheel(tmp_path, [*WHOLE, name])) == [f"snellen-0.1.0-py3-none-any.whl holds {name}"]


def test_sources_without_a_licence_and_files_that_are_too_large_are_refused(tmp_path, monkeypatch):
    build = script("build_distributions", monkeypatch)
    path = tmp_path / "snellen_models-0.1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("snellen_models-0.1.0/a.bin")
        archive.addfile(member, io.BytesIO())
    monkeypatch.setitem(build.MOST_BYTES, "snellen_models", 10)
    assert [one.partition(" ")[2] for one in build.problems_of(path)] == [
        "holds a.bin",
        "lacks its licence",
        f"has {path.stat().st_size:,} bytes, more than 10",
    ]


@pytest.mark.parametrize("name", ["snellen-0.1.0-py3-none-any.whl", "snellen-0.1.0.tar.gz"])
def test_a_file_that_is_no_distribution_is_named_and_not_a_crash(tmp_path, monkeypatch, name):
    build = script("build_distributions", monkeypatch)
    for content in (None, b"", b"no archive"):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        (problem,) = build.problems_of(tmp_path / name)
        assert problem.startswith(f"{name} is not a distribution that can be read: ")


def test_both_distributions_carry_the_same_licence_and_version():
    models = ROOT / "distributions" / "snellen-models"
    assert (models / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    project = tomllib.loads((models / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["version"], project["license"]) == (__version__, PROJECT["license"])
    assert project["requires-python"] == PROJECT["requires-python"]


# -- conda -------------------------------------------------------------------------------------------------------------


def test_the_recipe_of_conda_is_the_project():
    recipe = loaded("packaging/conda/recipe.yaml")
    assert recipe["context"]["version"] == __version__
    assert recipe["package"]["name"] == PROJECT["name"]
    names = {"torch": "pytorch"}
    wanted = {}
    for one in PROJECT["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)(.*)", one).groups()
        wanted[names.get(name, name)] = bound
    run = dict(one.partition(" ")[::2] for one in recipe["requirements"]["run"])
    assert run.pop("python") == PROJECT["requires-python"]
    assert run == wanted
    host = dict(one.partition(" ")[::2] for one in recipe["requirements"]["host"])
    assert host["python"] == PROJECT["requires-python"]
    assert (
        f"hatchling{host['hatchling']}"
        in tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    )
    ((command, target),) = PROJECT["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [f"{command} = {target}"]
    assert recipe["about"]["license"] == PROJECT["license"]
    assert recipe["about"]["license_file"] == PROJECT["license-files"]
    assert all((PACKAGING / "conda" / recipe["source"]["path"] / one).is_file() for one in PROJECT["license-files"])


# -- image -------------------------------------------------------------------------------------------------------------


def test_the_image_runs_as_a_user_and_its_commands_can_be_run_without_docker(monkeypatch):
    attempt = script("try_dockerfile", monkeypatch)
    text = attempt.DOCKERFILE.read_text(encoding="utf-8")
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*$", last, re.MULTILINE), "not root, and a number that Kubernetes can check"
    assert "HF_HUB_OFFLINE=1" in last
    commands = attempt.build_commands(text, ("base", "torch-cpu", "build"))
    assert commands[0] == "python -m venv /opt/snellen"
    assert len(commands) == 3
    assert all("\\" not in one for one in commands)
    # By a name, pip would take what others registered on an index.
    assert re.findall(r"(\S*snellen[-_\[]\S*)", commands[2].partition("&&")[0]) == [
        '/wheels/snellen-[0-9]*.whl)[$EXTRAS]"',
        "/wheels/snellen_models-*.whl",
    ]
    assert attempt.defaults(text) == {"DEVICE": "cpu", "TORCH_INDEX": "", "EXTRAS": "onnx,models"}
    for extra in attempt.defaults(text)["EXTRAS"].split(","):
        assert extra in PROJECT["optional-dependencies"]
    torch = next(one for one in PROJECT["dependencies"] if one.startswith("torch"))
    vision = next(one for one in PROJECT["optional-dependencies"]["models"] if one.startswith("torchvision"))
    assert text.count(f"'{torch}' '{vision}'") == 2


# -- action ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({}, []),
        (
            {
                "REQUIRE": "clean.accuracy>=0.9\n\ncalibration.ece<=0.05\n",
                "FAIL_ON": "severe",
                "BASELINE": "runs/last one",
            },
            [
                *("--require", "clean.accuracy>=0.9", "--require", "calibration.ece<=0.05"),
                *("--fail-on", "severe", "--baseline", "runs/last one"),
            ],
        ),
        (
            {"ARGUMENTS": "--limit\n100\n--checks\nclean; touch bad\n"},
            ["--limit", "100", "--checks", "clean; touch bad"],
        ),
    ],
    ids=["nothing", "a gate", "arguments"],
)
@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.skipif(os.name == "nt", reason="a script of bash with a command of its own")
def test_the_action_gives_each_input_to_the_audit_as_it_is(tmp_path, given, added, code):
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "snellen"
    command.write_text(f'#!/bin/sh\nfor one in "$@"; do printf \'%s\\n\' "$one"; done >> words\nexit {code}\n')
    command.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "MODEL": "a $(touch bad).onnx",
        "DATA": "photos",
        "OUT": "run",
        "GITHUB_OUTPUT": "output",
        **given,
    }
    done = subprocess.run(
        ["bash", str(PACKAGING / "github-action" / "audit.sh")], cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == code
    words = ["audit", "--out", "run", "--junit", "run/junit.xml", *added, "--", "a $(touch bad).onnx", "photos"]
    assert (tmp_path / "words").read_text().splitlines() == words
    assert (tmp_path / "output").read_text() == "report=run/report.html\n"
    assert not (tmp_path / "bad").exists()


@pytest.mark.skipif(os.name == "nt", reason="a script of bash")
def test_the_action_refuses_a_folder_that_would_write_further_outputs(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "MODEL": "m",
        "DATA": "d",
        "OUT": "run\nreport=x",
        "GITHUB_OUTPUT": "output",
    }
    done = subprocess.run(
        ["bash", str(PACKAGING / "github-action" / "audit.sh")],
        cwd=tmp_path, env=environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, "more than one line" in done.stderr) == (2, True)
    assert not (tmp_path / "output").exists()


def test_the_action_passes_every_input_and_puts_none_into_a_command():
    action = loaded("packaging/github-action/action.yml")
    steps = action["runs"]["steps"]
    text = json.dumps(steps)
    for name in action["inputs"]:
        assert re.search(rf"inputs\.{name}\b", text), name
    assert not [step["run"] for step in steps if "${{" in step.get("run", "")]
    used = set(re.findall(r"\$\{?([A-Z_]+)", (PACKAGING / "github-action" / "audit.sh").read_text())) - {
        "GITHUB_OUTPUT"
    }
    audit = next(step for step in steps if step.get("id") == "audit")
    assert used == set(audit["env"]) - {"ACTION"}


def test_workflows_pin_what_they_use_and_test_every_python_on_every_system():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    texts.append((PACKAGING / "github-action" / "action.yml").read_text(encoding="utf-8"))
    uses = [one for text in texts for one in re.findall(r"uses: (.+)", text)]
    assert len(uses) == 8
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", one) for one in uses)
    publish = loaded(".github/workflows/publish.yml")
    assert publish["permissions"] == {}
    assert {name: job["permissions"] for name, job in publish["jobs"].items()} == {
        "build": {"contents": "read"},
        "publish": {"id-token": "write"},
    }
    assert loaded(".github/workflows/tests.yml")["permissions"] == {"contents": "read"}
    commands = [step["run"] for job in publish["jobs"].values() for step in job["steps"] if "run" in step]
    assert not [one for one in commands if "${{" in one]
    assert any('"dist/snellen-${GITHUB_REF_NAME#v}.tar.gz"' in one for one in commands), "a tag of another version"
    matrix = loaded(".github/workflows/tests.yml")["jobs"]["smoke"]["strategy"]["matrix"]
    assert [one.partition("-")[0] for one in matrix["system"]] == ["ubuntu", "macos", "windows"]
    minor = re.search(r"3\.(\d+)", PROJECT["requires-python"])
    assert minor is not None
    assert matrix["python"][0] == f"3.{minor[1]}"
    tried = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d", one)]
    assert set(tried) <= set(matrix["python"])


# -- hooks, citation, notes --------------------------------------------------------------------------------------------


def test_hooks_of_pre_commit_are_commands_that_exist():
    import typer

    hooks = loaded(".pre-commit-hooks.yaml")
    group = typer.main.get_command(command_line.app)
    for hook in hooks:
        ((verb, options),) = re.findall(r"\bsnellen (\w+)((?: --[\w-]+)*)", hook["entry"])
        known = {spelling for parameter in group.commands[verb].params for spelling in parameter.opts}
        assert set(options.split()) <= known
        assert {"id", "name", "language", "entry"} <= set(hook)
    assert re.compile(hooks[1]["files"]).search("models/shop/audit.toml")


@pytest.mark.skipif(os.name == "nt", reason="a command of the shell")
@pytest.mark.parametrize("refused", ["a b/audit.toml", "c/audit.toml", "none"])
def test_the_hook_tries_each_of_several_audit_files_and_fails_where_one_does(tmp_path, refused):
    """pre-commit gives all changed files to one call; ``snellen audit`` would take a second one for images."""
    command = tmp_path / "snellen"
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$*" >> words\n[ "$3" != "$REFUSED" ] || exit 2\n')
    command.chmod(0o755)
    hook = next(hook for hook in loaded(".pre-commit-hooks.yaml") if hook["id"] == "snellen-audit-file")
    assert "pass_filenames" not in hook, "without a file, the bundled classifier would be tried"
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "REFUSED": refused}
    files = ["a b/audit.toml", "c/audit.toml"]
    done = subprocess.run([*shlex.split(hook["entry"]), *files], cwd=tmp_path, env=environment, check=False)
    assert (tmp_path / "words").read_text().splitlines() == [f"audit --dry-run {file}" for file in files]
    assert done.returncode == (0 if refused == "none" else 2)


def test_the_citation_is_of_this_version():
    citation = loaded("CITATION.cff")
    assert (citation["title"].lower(), str(citation["version"])) == (PROJECT["name"], __version__)
    assert citation["license"] == PROJECT["license"]
    assert [one["name"] for one in citation["authors"]] == [one["name"] for one in PROJECT["authors"]]
    needed = {"type": "object", "required": ["cff-version", "message", "title", "authors"]}
    jsonschema.validate(citation, needed)


def test_notes_of_a_version_are_cut_from_the_changelog(monkeypatch):
    notes = script("release_notes", monkeypatch).notes
    changelog = (
        "# Changelog\n\n## Unreleased\n\nnew\n\n## 0.2.0 (2026-12-01)\n\n### Added\n\n- two\n\n## 0.1.0\n\n- one\n"
    )
    assert notes(changelog, "0.2.0") == "### Added\n\n- two"
    assert notes(changelog, "0.1.0") == "- one"
    with pytest.raises(ValueError, match=r"says nothing on 0\.1;"):
        notes(changelog, "0.1")
    with pytest.raises(
        ValueError, match=r"says nothing on 0\.3\.0; it has: Unreleased, 0\.2\.0 \(2026-12-01\), 0\.1\.0"
    ):
        notes(changelog, "0.3.0")
    done = subprocess.run(
        [sys.executable, str(PACKAGING / "release_notes.py"), "9.9"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: CHANGELOG.md says nothing on 9.9")


def test_each_file_says_whether_it_was_run_and_the_page_of_installing_says_the_same():
    files = {
        "packaging/docker/Dockerfile": False,
        "packaging/conda/recipe.yaml": False,
        "packaging/github-action/action.yml": False,
        "packaging/github-action/audit.sh": True,
        ".github/workflows/tests.yml": False,
        ".github/workflows/publish.yml": False,
        ".pre-commit-hooks.yaml": True,
    }
    for name, was_run in files.items():
        head = "\n".join((ROOT / name).read_text(encoding="utf-8").splitlines()[:4])
        assert ("Run here:" in head, "Not run:" in head) == (was_run, not was_run), name
    table = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for name in ("packaging/docker", "packaging/conda", "packaging/github-action", ".pre-commit-hooks.yaml"):
        row = next(line for line in table.splitlines() if line.startswith("|") and name in line)
        assert ("| not run" in row) == (name != ".pre-commit-hooks.yaml"), row
