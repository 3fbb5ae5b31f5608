"""References: every method and check has one, none is made up, and a run cites what it used."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest
import torch

import snellen
from snellen.core import index, package
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.errors import InputError
from snellen.core.system import list_systems
from snellen.systems.continuous_nuisance.nuisance_set import NuisanceSet
from snellen.verbs.cite import cite, works, works_of_check, works_of_method
from tests.verbs.every_verb import VERBS
from tests.verbs.ill_classifiers import classifier_of, garments, overconfident

TABLE = tomllib.loads(package.text("verbs/references.toml"))
METHODS = {f"{area}.{name}": entry for area in index.AREAS for name, entry in index.methods(area).items()}
NO_NAMES = {"defensive_distillation", "representation_transfer"}


def folder_of(module):
    return Path(importlib.util.find_spec(module).origin).parent


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_reference_or_says_that_there_is_none(name):
    of_system = METHODS[name].target.startswith("snellen.systems.")
    assert of_system or name in TABLE["methods"], f"add {name} to verbs/references.toml"
    if of_system:
        assert works_of_method(*name.split("."))[0] in {system.name for system in list_systems()}


def test_every_check_has_one_and_no_row_is_left_over():
    own = {name for name, entry in index.checks().items() if not entry.target.startswith("snellen.systems.")}
    assert set(TABLE["checks"]) == own
    assert set(TABLE["methods"]) <= set(METHODS)
    cited = {key for keys in (*TABLE["methods"].values(), *TABLE["checks"].values()) for key in keys}
    cited |= set(TABLE["audit"]["works"])
    assert {key for key in cited if "." not in key} <= set(works())
    assert set(TABLE["works"]) <= cited
    assert {key for key in cited if "." in key} <= set(METHODS)


@pytest.mark.parametrize("name", [name for name, keys in TABLE["methods"].items() if keys])
def test_a_reference_is_that_of_the_sources(name):
    module = METHODS[name].target.partition(":")[0]
    sources = " ".join(file.read_text() for file in folder_of(module).glob("*.py"))
    for key in TABLE["methods"][name]:
        work = works()[key]
        assert work.authors[0].split()[-1] in sources, f"{name}: no source names {work.authors[0]}"
        assert not work.arxiv or work.arxiv in sources, f"{name}: no source names arXiv {work.arxiv}"


def test_systems_are_parsed():
    for system in list_systems():
        work = works()[system.name]
        assert bool(work.authors) is (system.name not in NO_NAMES), system.name
        assert work.title == system.title
        assert str(work.year) in system.source
        assert f"arXiv {work.arxiv}" in system.source if work.arxiv else "arXiv" not in system.source
        assert all(name == "others" or name in system.source for name in work.authors)
        assert not any(re.search("[0-9]|arXiv|ICLR|CVPR", name) for name in work.authors), work.authors


def test_bibtex():
    entry = works()["croce2020fab"].bibtex
    assert entry.startswith("@inproceedings{croce2020fab,\n  title = {{Minimally distorted")
    assert "  author = {Croce and Hein},\n" in entry
    assert "  eprint = {1907.02044},\n" in entry
    assert works()["carlini2017"].bibtex.count(r"IEEE S\&P") == 1
    assert "  journal = {IEEE TCSVT 34(10)},\n  eprint" in works()["multiple_instance"].bibtex
    assert "et al." in works()["carlini2019"].text
    for work in works().values():
        assert work.bibtex.count("{") == work.bibtex.count("}")


def test_a_run_cites_what_it_used(tmp_path):
    images = snellen.load_images("bundled:fashion-mnist").limit(4)
    methods = ["fgsm", {"method": "pgd", "steps": 2}]
    found = snellen.attack("bundled:fashion-cnn", images, methods, out=tmp_path / "run", save_images=False)
    keys = [work.key for work in snellen.cite(found).works]
    assert keys == ["snellen", "goodfellow2015", "madry2018"]
    assert cite(tmp_path / "run") == cite(found)
    assert cite(found).bibtex.count("@") == 3
    with pytest.raises(InputError, match="holds no report, no record of a verb and no artifact"):
        cite(tmp_path)


def test_an_audit_cites_the_benchmark_that_it_used(tmp_path):
    images = snellen.load_images("bundled:fashion-mnist").limit(6)
    snellen.audit("bundled:fashion-cnn", images, checks=["clean", "corruption", "bags"], out=tmp_path / "run")
    keys = [work.key for work in cite(tmp_path / "run").works]
    assert keys == ["snellen", "benjamini1995", "benjamini2005", "hendrycks2019"]
    medical = works_of_check("corruption", {"benchmark": "pathmnist"})
    assert medical == ("medical_corruptions",)
    assert works_of_check("backdoor") == ("smooth_inversion",)


def test_an_artifact_cites_its_recipe(tmp_path):
    lineage = Lineage(recipe={"method": "cutmix", "alpha": 1.0}, data="-", seed=0, code_version="0")
    card = Card(name="demo", kind="other", architecture={"name": "linear"}, lineage=lineage)
    Artifact({"weight": torch.ones(2)}, card).save(tmp_path)
    assert json.loads((tmp_path / "card.json").read_text())["licence"] == ""
    assert [work.key for work in cite(tmp_path).works] == ["snellen", "yun2019"]


def test_an_evaluation_and_its_folder_are_cited(tmp_path):
    images = snellen.load_images("bundled:fashion-mnist").limit(4)
    attacks = ["fgsm", {"method": "pgd", "steps": 2}]
    found = snellen.evaluate(["bundled:fashion-cnn"], attacks, images, seeds=(0, 1), out=tmp_path / "run")
    keys = [work.key for work in cite(found).works]
    assert keys == ["snellen", *works_of_method("attacks", "fgsm"), *works_of_method("attacks", "pgd")]
    assert [work.key for work in cite(tmp_path / "run").works] == keys
    for file in tmp_path.glob("run/*/seed-*/attack.json"):
        file.unlink()
    with pytest.raises(InputError, match="holds no report, no record of a verb"):
        cite(tmp_path / "run")


@pytest.mark.parametrize("other", [None, 3, ["run"], {"plan": {}}])
def test_what_is_no_run_is_refused_with_what_is(other):
    with pytest.raises(InputError, match=rf"{type(other).__name__} came.*a report, the result of a verb"):
        cite(other)


@pytest.mark.parametrize("verb", VERBS)
def test_the_result_of_every_verb_and_its_folder_are_cited(verb, tmp_path):
    found = VERBS[verb](out=tmp_path / "run")
    works = cite(found).works
    assert [work.key for work in works[1:]], "a method was used"
    assert cite(tmp_path / "run").works == works


def test_trajectories_of_a_nuisance_are_cited():
    found = NuisanceSet.of_part({"kind": "nuisance", "method": {"method": "continuous_nuisance"}}, "", Path())
    assert [work.key for work in cite(found).works] == ["snellen", "continuous_nuisance"]


def test_a_treated_classifier_cites_what_treated_it_and_what_found_it(tmp_path):
    report = snellen.audit(
        classifier_of(overconfident()), garments()["audited"], checks=["clean", "calibration"], out=tmp_path / "run"
    )
    snellen.treat(
        report,
        val=garments()["val"],
        findings="calibration",
        treatments=["temperature_scaling"],
        out=tmp_path / "treated",
    )
    keys = [work.key for work in snellen.cite(tmp_path / "treated").works]
    assert keys.index("guo2017") == 1
    assert set(keys) >= {work.key for work in snellen.cite(report).works}
