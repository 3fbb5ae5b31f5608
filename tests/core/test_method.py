"""Methods as values: records, keys, tagged unions, and what they need."""

import pyarrow as pa
import pytest
from pydantic import Field, ValidationError

from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.images import ImageSet
from snellen.core.index import MethodEntry
from snellen.core.method import Method, build, method_field, missing_needs
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.methods.corruptions.corruption import Corruption
from tests.tiny_network import NAMES, make_network

AttackField = method_field("attacks")


class Trainer(Method):
    """A method that holds another one."""

    name = "trainer"

    epochs: int = Field(1, description="passes")
    attack: AttackField = Field("pgd", description="inner attack")


class Bare(Method):
    """Same parameters under another class."""

    name = "trainer"

    epochs: int = Field(1, description="passes")
    attack: AttackField = Field("pgd", description="inner attack")


# -- building ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"method": "projected-gradient-descent", "steps": 3},
        {"steps": 3, "method": "PGD"},
        PGD(steps=3),
        {"method": "pgd", "steps": 3, "epsilon": 8 / 255, "norm": "linf"},
    ],
)
def test_a_method_is_built_from_each_way_of_writing_it(value):
    assert build("attacks", value) == PGD(steps=3)
    assert Trainer(attack=value).attack == PGD(steps=3)


def test_a_name_alone_means_the_defaults():
    assert build("attacks", "fast-gradient-sign") == FGSM()
    assert Trainer().attack == PGD(), "defaults are built as well"


def test_building_does_not_change_what_was_given():
    given = {"method": "pgd", "steps": 3}
    build("attacks", given)
    assert given == {"method": "pgd", "steps": 3}


def test_an_unknown_name_suggests_near_ones():
    with pytest.raises(UnknownNameError, match="unknown attack 'pdg'; did you mean 'pgd'"):
        build("attacks", "pdg")
    with pytest.raises(InputError, match="did you mean 'pgd'"):
        Trainer(attack={"method": "pdg"})


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"steps": 0}, "parameters of pgd: steps: expected at least 1, got 0"),
        ({"stepz": 3}, "parameters of pgd: stepz: is not known"),
        ({"norm": "l1", "restarts": 0}, "parameters of pgd: norm: .*; restarts: "),
    ],
)
def test_wrong_parameters_are_named(parameters, told):
    with pytest.raises(InputError, match=told):
        build("attacks", {"method": "pgd", **parameters})
    with pytest.raises(InputError, match=told):
        Trainer(attack={"method": "pgd", **parameters})


@pytest.mark.parametrize("value", [{}, {"steps": 3}, 3, None, ["pgd"], {"method": 3}, {"method": None}])
def test_what_is_no_method_is_refused(value):
    with pytest.raises(InputError, match="a method of attacks is written as a name or as"):
        build("attacks", value)
    with pytest.raises(InputError, match="a method of attacks is written"):
        Trainer(attack=value)


def test_a_method_of_another_area_is_refused():
    with pytest.raises(InputError, match="is no method of attacks: it has no verb 'attack'"):
        build("attacks", Corruption())
    with pytest.raises(InputError, match="no method of attacks"):
        Trainer(attack=Corruption())


def test_a_method_is_imported_only_when_it_is_chosen(monkeypatch):
    rows = {"far": MethodEntry(name="far", area="attacks", target="no_such_module:Far")}
    monkeypatch.setattr(index, "methods", lambda area: rows)

    class Holder(Method):
        attack: AttackField = Field("far", description="inner attack")

    assert Holder.model_json_schema()["properties"]["attack"]["x-snellen-area"] == "attacks"
    assert Holder(attack=PGD()).attack == PGD()
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        Holder()


# -- records and keys -------------------------------------------------------------------------------------------------


def test_a_record_holds_names_and_parameters_and_builds_the_same_again():
    method = Trainer(epochs=2, attack=PGD(norm="l2", epsilon=0.5))
    record = method.record()
    assert record["method"] == "trainer"
    assert record["attack"] == {"method": "pgd", **PGD(norm="l2", epsilon=0.5).model_dump()}
    parameters = {key: value for key, value in record.items() if key != "method"}
    assert Trainer(**parameters) == method
    assert Trainer.model_validate_json(method.model_dump_json()) == method


def test_the_key_is_that_of_equal_parameters_however_written():
    written = [Trainer(), Trainer(epochs=1), Trainer(attack=PGD()), Trainer(attack={"method": "pgd", "steps": 20})]
    assert len({method.cache_key() for method in written}) == 1


def test_the_key_changes_with_class_and_with_every_parameter_also_of_a_method_inside():
    others = {
        "epsilon": 0.1,
        "norm": "l2",
        "steps": 21,
        "step_size": 0.1,
        "random_start": False,
        "restarts": 2,
    }
    assert set(others) == set(PGD.model_fields), "a new parameter belongs here"
    single = [PGD(), *(PGD(**{name: value}) for name, value in others.items())]
    assert len({method.cache_key() for method in single}) == len(single)
    nested = [Bare(), Trainer(epochs=2), Trainer(attack=FGSM()), *(Trainer(attack=method) for method in single)]
    assert len({method.cache_key() for method in nested}) == len(nested)


def test_a_method_is_frozen_closed_and_keyword_only():
    with pytest.raises(ValidationError, match="frozen"):
        Trainer().epochs = 3
    for wrong in ({"epoch": 3}, {"epochs": "many"}):
        with pytest.raises(InputError):
            Trainer(**wrong)
    with pytest.raises(TypeError):
        Trainer(3)
    assert Trainer() == Trainer()
    assert hash(PGD()) == hash(PGD())


# -- needs ------------------------------------------------------------------------------------------------------------


def classifier(**changes):
    model = changes.pop("model", None) or make_network()
    return Classifier(model, class_names=NAMES, name="tiny", **changes)


@pytest.mark.parametrize(
    ("need", "lacking"),
    [
        ("gradients", {"differentiable": False}),
        ("scores", {"output": "labels"}),
        ("logits", {"output": "log-probabilities"}),
        ("logits", {"output": "labels"}),
        ("layers", {"model": lambda images: images, "differentiable": True}),
    ],
)
def test_needs_of_the_classifier(need, lacking):
    assert missing_needs(frozenset({need}), classifier()) is None
    assert missing_needs(frozenset({need}), classifier(**lacking)) == f"needs {need}, and tiny gives none"
    assert missing_needs(frozenset(), classifier(**lacking)) is None
    assert missing_needs(frozenset({need})) is None, "unknown inputs are not judged"


class Nothing:
    """A source that is never read."""

    def read(self, index):
        raise AssertionError

    content_hash = read


def images(**columns):
    names = ("a", "b") if "label" in columns else None
    return ImageSet(Nothing(), pa.table({"id": ["1", "2"], **columns}), class_names=names, name="photos")


@pytest.mark.parametrize(
    ("need", "column"),
    [("units", "unit_id"), ("groups", "group"), ("masks", "mask"), ("captions", "caption"), ("bags", "bag_id")],
)
def test_needs_of_the_images(need, column):
    told = f"needs {need} (column {column}), and photos has none"
    assert missing_needs(frozenset({need}), images=images()) == told
    assert missing_needs(frozenset({need}), images=images(**{column: pa.array([None, None], pa.string())})) == told
    assert missing_needs(frozenset({need}), images=images(**{column: ["x", None]})) is None


def test_need_of_labels():
    unknown = images(label=pa.array([None, None], pa.int64()))
    for without in (images(), unknown):
        assert missing_needs(frozenset({"labels"}), images=without) == "needs labels, and photos has none"
    assert missing_needs(frozenset({"labels"}), images=images(label=[0, None])) is None


def test_a_method_says_what_it_misses():
    assert PGD().missing(classifier(), images(label=[0, 1])) is None
    assert PGD().missing(classifier(differentiable=False)) == "needs gradients, and tiny gives none"
    assert PGD().missing(classifier(), images()) == "needs labels, and photos has none"
    assert Corruption().missing(classifier(differentiable=False), images()) is None
