"""What the documents say is true of the code, and what they point to is there."""

import ast
import functools
import importlib
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import snellen
from snellen.cli import app as command_line
from snellen.core import index
from snellen.core.evidence import SCHEMA
from snellen.core.method import VERBS
from snellen.models.classifiers.references import SCHEMES
from snellen.reproduction.result import ClaimResult, Result

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "src" / "snellen" / "assets").glob("*.md"),
        *(ROOT / "distributions").rglob("*.md"),
    ]
)
README, CHANGELOG, SECURITY = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CHANGELOG.md", "SECURITY.md")
)
TEST_COMMAND = "pip install -e '.[test]' && pytest"


def section(text: str, title: str) -> str:
    """The text under a heading, up to the next heading of the same or a higher rank."""
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"no section {title!r}"
    return match[2]


def page(name: str) -> str:
    """A page of the documents."""
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def fenced(text: str, language: str = "") -> list[str]:
    """Blocks between fences, of this language."""
    parts = re.split(r"^```(.*)\n", text, flags=re.MULTILINE)
    # text, language, block, "", text, language, block, …
    return [block for told, block in zip(parts[1::4], parts[2::4], strict=True) if told == language]


def first_cells(table: str) -> list[str]:
    """Names in backticks in the first column of a table."""
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")]
    return [name for cell in rows for name in re.findall(r"`([^`]+)`", cell)]


def listed(text: str, after: str) -> list[str]:
    """Names in backticks of the list item that begins with these words."""
    item = re.search(rf"^- \*\*{re.escape(after)}(.*?)(?=^- |^$)", text, re.MULTILINE | re.DOTALL)
    assert item is not None, f"no item {after!r}"
    return re.findall(r"`([^`]+)`", item[1])


# -- README.md ---------------------------------------------------------------------------------------------------------


def test_the_test_command_stands_once_and_ci_takes_it_from_there():
    lines = [line for block in fenced(README) for line in block.splitlines()]
    assert lines.count(TEST_COMMAND) == 1
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    function = re.search(r"^readme_test_command\(\) \{.*?^\}$", script, re.MULTILINE | re.DOTALL)
    assert function is not None
    found = subprocess.run(
        ["bash", "-c", f"{function[0]}\nreadme_test_command"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == [TEST_COMMAND]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_door_is_short():
    assert len(README.splitlines()) <= 150


def test_the_examples_in_python_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = fenced(section(README, "In Python"), "python")
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
        assert capsys.readouterr().out.strip()
    assert not list(tmp_path.iterdir()), "an example leaves files behind"


def test_extras_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert first_cells(section(page("install"), "Extras")) == list(project["optional-dependencies"])


def test_every_scheme_of_a_model_is_listed_and_no_other():
    assert {name.split(":")[0] for name in first_cells(section(page("models"), "References"))} == set(SCHEMES)


def test_exit_codes_are_those_of_the_command_line():
    rows = re.findall(r"^\| (\d+) \|", section(page("commands"), "Exit codes"), re.MULTILINE)
    told = re.findall(r"\b(\d+) [a-z]", str(command_line.app.info.epilog))
    assert rows == told
    assert {str(command_line.EXIT_ERROR), str(command_line.EXIT_INTERNAL)} <= set(rows)


def test_commands_that_the_loop_calls_built_exist_and_no_other():
    commands = {
        command.callback.__name__.replace("_", "-")
        for command in command_line.app.registered_commands
        if command.callback
    }
    commands |= {str(group.name) for group in command_line.app.registered_groups}
    assert set(re.findall(r"`snellen ([\w-]+)", page("commands"))) == commands


# -- CHANGELOG.md ------------------------------------------------------------------------------------------------------


def test_public_names_are_those_of_the_package():
    names = listed(CHANGELOG, "Python names**")[1:]
    assert names == [name for name in snellen.__all__ if name != "__version__"]


def test_verbs_and_columns_are_those_of_the_code():
    assert listed(CHANGELOG, "Verbs**")[1:] == list(VERBS)
    assert listed(CHANGELOG, "Columns of evidence**") == SCHEMA.names


def test_fields_of_a_result_are_those_of_the_code():
    names = [name for name in listed(CHANGELOG, "`snellen reproduce`**") if not name.startswith("--")]
    assert names == [*Result.model_fields, *ClaimResult.model_fields]


def test_options_are_those_of_the_command_line():
    # Parameters whose option is not spelled like the parameter.
    spelled = {"as_json": "--json", "open_link": "--open", "settings": "--set", "save_images": "--images"}
    for command in command_line.app.registered_commands:
        assert command.callback is not None
        if command.callback.__name__ == "systems":
            continue
        names = listed(CHANGELOG, f"`snellen {command.callback.__name__.replace('_', '-')}`**")
        arguments = {
            "return",
            "context",
            "model",
            "models",
            "data",
            "systems",
            "first",
            "second",
            "run",
            "concept",
            "pool",
            "file",
            "runs",
            "folder",
        }
        arguments -= {"evaluate": {"data"}, "treat": {"model"}}.get(command.callback.__name__, set())
        parameters = [name for name in command.callback.__annotations__ if name not in arguments]
        expected = [spelled.get(name, "--" + name.replace("_", "-")) for name in parameters]
        assert [name for name in names if name.startswith("--")] == expected


# -- the checks --------------------------------------------------------------------------------------------------------


def test_all_of_floor_0_is_typed_strictly():
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]["overrides"]
    assert len(overrides) == 1
    assert {"snellen.core.*", "snellen.version"} <= set(overrides[0]["module"])


# -- all documents -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        reached = (path.parent / file).resolve() if file else path
        assert reached.exists(), f"{path.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", reached.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


def test_no_line_is_a_comment_of_the_site():
    found = [str(path) for path in DOCUMENTS if re.search(r"^\s*%", path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert not found, f"the site leaves out lines that begin with %: break the line elsewhere: {found}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(path):
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:src|tests|scripts|docs|\.ci)/[\w./-]*)(?:::\w+)?`", text):
        assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_tests_that_prove_a_promise_exist():
    proofs = re.findall(r"`(tests/[\w./]+)::(\w+)`", SECURITY)
    assert len(proofs) > 10
    for file, name in proofs:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {name}"


# -- promises about the source that no linter checks -------------------------------------------------------------------

SOURCES = sorted((ROOT / "src").rglob("*.py"))


@functools.cache
def nodes(path: Path) -> tuple[list[ast.Call], list[ast.Import | ast.ImportFrom]]:
    """Calls and imports of a module, which is parsed once for all tests."""
    found: tuple[list[ast.Call], list[ast.Import | ast.ImportFrom]] = [], []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            found[0].append(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found[1].append(node)
    return found


def calls(path: Path) -> list[ast.Call]:
    return nodes(path)[0]


@functools.cache
def named(call: ast.Call) -> str:
    """What is called, as it stands."""
    return ast.unparse(call.func)


def test_torch_load_never_unpickles_objects():
    found = 0
    for path in SOURCES:
        for call in calls(path):
            if named(call) == "torch.load":
                found += 1
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                assert options.get("weights_only") == "True", f"{path}: torch.load without weights_only=True"
    assert found == 3, "three places read torch files: pinned weights, published label maps, and checkpoints"


def test_no_module_talks_to_the_network_or_starts_programs():
    banned = {
        "ftplib",
        "http",
        "httpx",
        "httpx2",
        "multiprocessing",
        "requests",
        "smtplib",
        "socket",
        "subprocess",
        "urllib",
    }
    for path in SOURCES:
        for node in nodes(path)[1]:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            # Two places start programs: this very interpreter, as a worker or a job. The next test looks at how. One
            # listens, on this machine alone: tests/desk/test_served.py.
            known = {LOCAL_ENGINE: {"subprocess"}, DESK_JOBS: {"subprocess"}, DESK_SERVER: {"socket"}}
            allowed = known.get(path, set())
            assert not {name.split(".")[0] for name in names} & (banned - allowed), f"{path} imports {names}"


LOCAL_ENGINE = ROOT / "src" / "snellen" / "runs" / "engines" / "local.py"
DESK_JOBS, DESK_SERVER = (ROOT / "src" / "snellen" / "desk" / name for name in ("jobs.py", "serving.py"))


def test_jobs_of_the_desk_are_this_interpreter_with_a_module_of_ours_and_no_shell():
    (opened,) = [call for call in calls(DESK_JOBS) if named(call).startswith("subprocess.Popen")]
    assert ast.unparse(opened.args[0]) == "[sys.executable, *_COMMAND, *words]"
    assert "shell" not in {keyword.arg for keyword in opened.keywords}
    command = importlib.import_module("snellen.desk.jobs")._COMMAND
    assert command[-2:] == ("-m", "snellen.cli.job_process")
    assert "-P" in command, "no module of the current folder"


def test_the_one_program_that_is_started_is_this_interpreter_with_a_module_of_ours():
    started = [call for call in calls(LOCAL_ENGINE) if named(call).startswith(("subprocess.", "os."))]
    (opened,) = [call for call in started if named(call) == "subprocess.Popen"]
    assert ast.unparse(opened.args[0]) == "[sys.executable, *_COMMAND]"
    assert "shell" not in {keyword.arg for keyword in opened.keywords}
    assert len(started) == 1
    command = importlib.import_module("snellen.runs.engines.local")._COMMAND
    assert command[-2:] == ("-m", "snellen.runs.engines.worker")
    assert "-P" in command, "no module of the current folder"
    starting = ("os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.startfile", "pty.")
    for path in SOURCES:
        for call in calls(path):
            name = named(call)
            assert not name.startswith(starting), f"{path}: {name}"
            starts = name.endswith(("Popen", "create_subprocess_exec"))
            assert path in (LOCAL_ENGINE, DESK_JOBS) or not starts, f"{path}: {name}"


def test_clients_of_servers_are_opened_in_one_place_each():
    opened = {
        (ast.unparse(call.args[0]).strip("'\""), path.relative_to(ROOT / "src" / "snellen").as_posix())
        for path in SOURCES
        for call in calls(path)
        if named(call) == "import_extra"
    }
    clients = {(module, path) for module, path in opened if module in ("httpx", "httpx2", "openai", "requests")}
    assert clients == {("openai", "models/language/references.py"), ("httpx2", "models/classifiers/served/loading.py")}


def test_libraries_that_can_fetch_weights_are_set_not_to():
    """Except the two loaders that ask for permission (tests/models/weights/test_published_weights.py)."""
    found = 0
    for path in SOURCES:
        for call in calls(path):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name == "from_pretrained":
                found += 1
                assert options.get("local_files_only") == "True", f"{path}: from_pretrained without local_files_only"
            asking = path.name in ("timm_models.py", "torchvision_models.py")
            assert asking or options.get("pretrained") != "True", f"{path}: pretrained=True"
            assert asking or name not in ("get_state_dict", "hf_hub_download", "snapshot_download"), f"{path}: {name}"
            assert name not in ("load_state_dict_from_url", "download_url_to_file"), f"{path}: {name}"
    assert found


def test_no_code_of_a_model_repository_is_trusted():
    options = [
        ast.unparse(keyword.value)
        for path in SOURCES
        for call in calls(path)
        for keyword in call.keywords
        if keyword.arg == "trust_remote_code"
    ]
    assert options
    assert set(options) == {"False"}


def test_every_treatment_stands_in_its_table():
    table = section((ROOT / "docs" / "treating.md").read_text(encoding="utf-8"), "Treatments")
    assert sorted(first_cells(table)) == sorted(index.methods("treatments"))
