"""A minute's answer to whether anything is broken: every command and every verb once, at settings of a moment.

``pytest -m smoke`` runs this and the marked tests of each room.
"""

import pkgutil
from pathlib import Path

import pytest
import typer

import snellen
from snellen.cli import app as command_line
from snellen.core.index import AREAS, methods
from tests.cli.conftest import run
from tests.method_settings import METHODS
from tests.test_conformance import check_verb, folder

__all__ = ["folder", "run"]

TESTS = Path(__file__).parent

#: The cheapest method of each area.
CHEAPEST = {
    "attacks": "fgsm",
    "shifts": "corruption",
    "certificates": "smoothing",
    "explanations": "gradient",
    "scans": "perturbation",
    "recipes": "supervised",
    "generation": "gradient_free_guidance",
    "synthesis": "by_name",
    "treatments": "temperature_scaling",
    "forgetting": "selective_dampening",
    "worlds": "textures",
    "defects": "trigger",
}

_FASHION = "bundled:fashion-cnn bundled:fashion-mnist --limit 8"

_SHAPES = "size=32&sizes=large&shapes=ring,star,heart,square,triangle,cross&seed=5"

#: What a language model would write about a concept.
STAR = """
definition = {necessary = ["a star"]}
queries = {positive = ["a star"], near_misses = ["a heart"]}
questions.questions = [{condition = "necessary 1", question = "A star?", phrases = ["a star"], instead = ["a heart"]}]
"""

#: What a model must show.
REQUIREMENTS = '[[requirement]]\nid = "R1"\ntext = "Mostly right"\nmetric = "clean.accuracy >= 0.5"\n'

#: Calls of each command; the last is of the command itself.
CALLS = {
    "audit": (f"audit {_FASHION} --checks clean",),
    "init": (f"init {' '.join(_FASHION.split()[:2])}",),
    "compare": (f"audit {_FASHION} --checks clean --out one", "compare one one"),
    "evaluate": ("evaluate bundled:fashion-cnn --data bundled:fashion-mnist --limit 8 --attack fgsm",),
    "report": (f"audit {_FASHION} --checks clean --out one", "report one --to md"),
    "ui": ("ui --help",),  # a server goes on until it is stopped; tests/desk start one
    "requirements": (f"audit {_FASHION} --checks clean --out one", "requirements requirements.toml one --out table"),
    "monitor": (
        "audit bundled:fashion-cnn bundled:fashion-mnist --limit 40 --checks clean --out one",
        "monitor one bundled:fashion-mnist --limit 30",
    ),
    "sample-size": ("sample-size --accuracy 0.9 --width 4pt",),
    "cite": (f"audit {_FASHION} --checks clean --out one", "cite one"),
    "systems": ("systems",),
    "reproduce": ("reproduce perception --scale smoke --seeds 1",),
    "attack": (f"attack fgsm {_FASHION}",),
    "shift": ("shift corruption bundled:fashion-mnist --limit 4 --kind contrast --severity 1",),
    "explain": (f"explain gradient {_FASHION}",),
    "certify": (f"certify smoothing {_FASHION} --sigma 0.1 --samples 50 --selection 10",),
    "scan": (
        "scan backdoor bundled:fashion-cnn bundled:fashion-mnist --limit 30 --images 30 --sources 1 "
        "--epsilon 3 --confirming 2 --copies 0 --steps 1 --samples 1 --refined-samples 1 --refined-steps 1 --refined 1",
    ),
    "train": (
        "train supervised optotypes:scenes?count=8&size=28#train --architecture fashion_cnn --side 28 --no-onnx "
        '--plan {"epochs":1,"batch_size":8} --out trained',
    ),
    "treat": (
        f"audit bundled:scene-cnn optotypes:scenes?count=300&{_SHAPES}#test --checks clean --out one",
        f"treat one --train optotypes:scenes?count=200&{_SHAPES}#train --finding worst_class:star "
        f"--treatment last_layer_retraining --out treated",
    ),
    "forget": (
        "train supervised optotypes:scenes?count=12&size=28#train --architecture fashion_cnn --side 28 --no-onnx "
        '--plan {"epochs":1,"batch_size":8} --out trained',
        "forget fine-tuning artifact:trained optotypes:scenes?count=12&size=28#train --class star "
        "--test optotypes:scenes?count=12&size=28#test --epochs 1 --random-sets 0 --out gone",
    ),
    "search": (
        "search cells optotypes:scenes?count=24&size=16&shapes=star,ring#train --candidates 2 --population 2 "
        "--tournament 1 --side 8 --channels 4 --epochs 1 --final-epochs 1 --probe-images 4",
    ),
    "generate": ("generate gradient-free-guidance classes:Bag?count=1 --steps 1",),
    "synthesize": ("synthesize by-name classes:star --count 1 --steps 1",),
    "label": (
        "label star optotypes:scenes?count=80&size=32#train --language file:star.toml --towers bundled:scene-clip "
        "--captioner bundled:scene-captioner --answers bundled:scene-clip --initial 20 --rounds 0 --per-query 12",
    ),
    "optotypes": ("optotypes write textures --count 4 --size 32",),
}

COMMANDS = list(typer.main.get_command(command_line.app).commands)
ROOMS = [module.name for module in pkgutil.iter_modules(snellen.__path__) if module.ispkg]


#: How lines begin that say on standard error how far a command is.
PROGRESS = {"reproduce": ("perception at scale smoke", "seed 0 is finished")}


@pytest.mark.smoke
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(command, run):
    Path("requirements.toml").write_text(REQUIREMENTS, encoding="utf-8")
    Path("star.toml").write_text(STAR, encoding="utf-8")  # the folder is that of the test
    assert CALLS[command][-1].split()[0] == command
    for call in CALLS[command]:
        code, _, err = run(*call.split())
        said = [line for line in err.splitlines() if line.strip() and not line.startswith(PROGRESS.get(command, "\0"))]
        assert (code, said) == (0, []), call


@pytest.mark.smoke
@pytest.mark.parametrize("area", [area for area in AREAS if methods(area)])
def test_every_verb_has_a_method_that_keeps_its_promises(area, folder):
    check_verb(methods(area)[CHEAPEST[area]], METHODS[area][CHEAPEST[area]], folder)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_test_that_is_marked(room):
    files = [path for path in (TESTS / room).rglob("test_*.py") if "pytest.mark.smoke" in path.read_text("utf-8")]
    assert files, f"no test below tests/{room} is marked smoke"
