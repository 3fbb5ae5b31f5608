"""``snellen attack`` as a user meets it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import snellen
import snellen.verbs.attack  # its function is patched below
from snellen.core.index import methods
from snellen.methods.attacks.pgd import PGD
from snellen.verbs import attack_shards
from tests.cli.stood_for import check_options

MODEL = "bundled:fashion-cnn"


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Lines that do not wrap; code that stands still."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: "0" * 64)


#: A fifth of the clothes is damaged.
LOST = "--allow-rejected"


@pytest.fixture
def clothes(tmp_path):
    """Four real images of two classes, and a damaged file."""
    images = snellen.load_images("bundled:fashion-mnist")
    for label in (5, 8):
        name = images.class_names[label]
        (tmp_path / "clothes" / name).mkdir(parents=True)
        for row in np.flatnonzero(images.labels == label)[:2].tolist():
            images.read(row).save(tmp_path / "clothes" / name / f"{row}.png")
    (tmp_path / "clothes" / "Bag" / "[red]broken.png").write_bytes(b"no image")
    return tmp_path / "clothes"


def flat(text):
    """Rich wraps and draws boxes; messages are compared without either."""
    return " ".join(text.replace("│", " ").split())


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("arguments", [["attack", "--help"], ["attack", "-h"], ["attack"]])
def test_help_loads_nothing_that_computes_and_lists_every_attack(arguments):
    code = (
        "import sys\n"
        "from snellen.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*sorted({'torch', 'numpy', 'pyarrow', 'PIL'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.stderr.strip() == ""
    for name in methods("attacks"):
        assert name.replace("_", "-") in done.stdout


@pytest.mark.parametrize("name", methods("attacks"))
def test_help_of_each_attack_shows_its_fields(run, name):
    code, out, _ = run("attack", name, "--help")
    assert code == 0
    for field in methods("attacks")[name].load().model_fields:
        assert f"--{field.replace('_', '-')}" in flat(out) or f".{field.replace('_', '-')}" in flat(out)


def test_an_attack_of_a_folder_is_the_python_call(run, clothes, tmp_path):
    asked = [
        "attack",
        "pgd",
        MODEL,
        clothes,
        "--epsilon",
        "8/255",
        "--steps",
        "3",
        "--out",
        "here",
        "--seed",
        "3",
        LOST,
    ]
    code, out, err = run(*asked, "--workers", "2")
    assert (code, err.strip()) == (0, "")
    told = flat(out)
    assert "rejected: Bag/[red]broken.png: not a readable image" in told
    assert "Written: here/evidence.parquet Written: here/manifest.csv" in told
    record = json.loads((tmp_path / "here" / "attack.json").read_bytes())
    assert f"pgd.robust_accuracy {record['settings']['pgd']['robust_accuracy']['value']:.4f}" in told
    assert record["settings"]["pgd"]["verdict"] in told
    assert [row["id"] for row in record["rejected"]] == ["Bag/[red]broken.png"]
    assert record["clean_accuracy"]["n"] == 4
    classifier, images = snellen.load_classifier(MODEL), snellen.load_images(clothes)
    method = PGD(epsilon=8 / 255, steps=3)
    snellen.attack(classifier, images, method, seed=3, out=tmp_path / "python", allow_rejected=True)
    files = {path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*") if path.is_file()}
    for file in files:
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "python" / file).read_bytes()
    # A second time: the record as it is; another plan: an error.
    code, out, _ = run(*asked, "--json")
    assert code == 0
    assert out == (tmp_path / "here" / "attack.json").read_text()
    code, _, err = run(*asked[:-2], "4", LOST)
    assert code == 2
    assert "holds another attack (differs in: seed)" in flat(err)


def test_repeated_options_attack_once_for_each_value_into_a_free_folder(run, clothes, tmp_path):
    (tmp_path / "snellen-attack-1").mkdir()
    asked = ["attack", "fast-gradient-sign", MODEL, clothes, "--epsilon", "0.01", "--epsilon", "0.1", LOST]
    code, out, _ = run(*asked, "--no-images", "--target", "Sandal")
    assert code == 0
    assert "to be taken for Sandal" in flat(out)
    assert {path.name for path in (tmp_path / "snellen-attack-2").iterdir()} == {"attack.json", "evidence.parquet"}
    record = json.loads((tmp_path / "snellen-attack-2" / "attack.json").read_bytes())
    assert list(record["settings"]) == ["fgsm+epsilon=0.01", "fgsm+epsilon=0.1"]
    assert record["plan"]["goal"] == {"criterion": "Targeted", "target": "Sandal"}


def test_a_field_that_names_another_model_takes_its_reference(run, clothes, tmp_path):
    code, _, err = run(
        "attack", "transfer", MODEL, clothes, LOST, "--surrogate", "bundled:fashion-judge", "--crafted-by",
        '{"method": "fgsm", "epsilon": 0.2}', "--out", "here",
    )  # fmt: skip
    assert (code, err.strip()) == (0, "")
    record = json.loads((tmp_path / "here" / "attack.json").read_bytes())
    assert record["settings"]["transfer"]["method"]["surrogate"] == "bundled:fashion-judge"
    assert record["settings"]["transfer"]["gradients"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pdg", MODEL, "clothes"], "unknown attack 'pdg'; did you mean 'pgd'"),
        (["pgd", MODEL], "Missing argument"),
        (["pgd", MODEL, "clothes", "--epsilon", "8/x"], "--epsilon '8/x': expected a number"),
        (["pgd", MODEL, "clothes", "--epsilon", "-1"], "--epsilon '-1': expected at least 0"),
        (["pgd", MODEL, "clothes", "--norm", "l1"], "--norm 'l1': expected 'linf' or 'l2'"),
        (["pgd", MODEL, "clothes", "--restarts", "2", "--no-random-start"], "2 restarts without a random start"),
        (["pgd", MODEL, "clothes", "--epsilon", "0.1", "--epsilon", "0.1"], "is given twice; a run holds each"),
        (["pgd", MODEL, "clothes", "--target", "Bags"], "'Bags'; did you mean 'Bag'?"),
        (["pgd", MODEL, "clothes", "--target", "10"], "target 10 is no class of bundled:fashion-cnn"),
        (["pgd", "bundled:fashion-cn", "clothes"], "did you mean 'fashion-cnn'"),
        (["pgd", MODEL, "cloths"], "did you mean 'clothes'"),
        (["pgd", MODEL, "clothes", "--batchsize", "3"], "No such option"),
        (["pgd", MODEL, "clothes", "--out", "clothes"], "is not empty and holds no attack"),
        (["pgd", MODEL, "clothes", "--device", "gpu"], "gpu"),
        (["transfer", MODEL, "clothes", "--crafted-by", "pgdd"], "did you mean 'pgd'"),
    ],
)
def test_mistakes_exit_with_2_and_one_clear_message(run, clothes, tmp_path, arguments, message):
    out = [] if "--out" in arguments else ["--out", "o"]
    code, _, err = run("attack", *arguments, *out)
    assert code == 2
    assert message in flat(err)
    assert "Traceback" not in err
    assert not (tmp_path / "o").exists()


@pytest.mark.usefixtures("clothes", "unread_images")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--epsilon", "0.1", "--epsilon", "0.1"], "is given twice"), (["--out", "clothes"], "holds no attack")],
)
def test_what_needs_no_images_is_refused_before_they_are_read(run, arguments, message):
    code, _, err = run("attack", "pgd", MODEL, "clothes", *arguments)
    assert code == 2
    assert message in flat(err)


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(run, clothes, monkeypatch, tmp_path):
    asked = ["attack", "fgsm", MODEL, clothes, "--batch-size", "2", LOST]
    real, left = attack_shards.attacked_rows, iter(range(1))

    def interrupted(*arguments, **options):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(attack_shards, "attacked_rows", interrupted)
        code, _, err = run(*asked)
    assert code == 130
    assert (
        "snellen-attack-1 is incomplete, and the same command with --out snellen-attack-1 resumes where this stopped"
        in flat(err)
    )
    assert {path.name for path in (tmp_path / "snellen-attack-1").iterdir()} == {"unfinished"}
    assert run(*asked, "--out", "snellen-attack-1")[0] == 0
    assert run(*asked, "--out", "whole")[0] == 0
    for path in filter(lambda path: path.is_file(), (tmp_path / "whole").rglob("*")):
        resumed = tmp_path / "snellen-attack-1" / path.relative_to(tmp_path / "whole")
        assert resumed.read_bytes() == path.read_bytes()


def test_names_cannot_drive_the_terminal(run, clothes):
    (clothes / "Bag" / "\x1b[2Jx.png").write_bytes(b"no image")
    code, out, err = run("attack", "fgsm", MODEL, clothes, LOST, "--out", "he\x1b[2Jre")
    assert code == 0
    assert "\x1b[2J" not in out + err


def test_images_without_labels_are_refused_in_one_line(run, tmp_path):
    (tmp_path / "bare").mkdir()
    Image.new("RGB", (28, 28)).save(tmp_path / "bare" / "a.png")
    code, _, err = run("attack", "fgsm", MODEL, "bare", "--out", "o")
    assert code == 2
    assert "fgsm needs labels, and" in flat(err)


def test_options_have_the_defaults_of_the_function_they_stand_for():
    from snellen.cli.attack import attack

    check_options(attack, snellen.attack)
