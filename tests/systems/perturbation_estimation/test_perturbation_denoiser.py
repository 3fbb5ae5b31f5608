"""The recipe of denoisers: pairs of its victims, figures of held out images, the baselines, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

import snellen
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.errors import InputError, RunConflictError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.models.classifiers.fashion_cnn import FashionCNN
from snellen.models.residual_denoiser import ResidualDenoiser, architecture, load_denoiser
from snellen.systems.perturbation_estimation import recipe as perturbation_denoiser
from snellen.systems.perturbation_estimation.estimate import unbounded_scores
from snellen.systems.perturbation_estimation.figures import benign_figures
from snellen.systems.perturbation_estimation.fitting import fit_denoiser
from snellen.systems.perturbation_estimation.losses import LossWeights
from snellen.systems.perturbation_estimation.method import Perturbation
from snellen.systems.perturbation_estimation.pairs import joined
from snellen.systems.perturbation_estimation.recipe import PLAN, PerturbationDenoiser
from snellen.verbs.model_card import model_card
from snellen.verbs.train import train

SMALL = {
    "surrogate": "bundled:fashion-judge",
    "victims": ("bundled:fashion-cnn",),
    "attacks": ({"method": "fgsm", "epsilon": 0.08},),
    "depth": 3,
    "width": 4,
    "plan": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3},
}


@pytest.fixture(scope="module")
def data():
    images = snellen.load_images("bundled:fashion-mnist").limit(40)
    pixels = np.stack([np.asarray(images.read(row)) for row in range(len(images))])
    return load_arrays(pixels, images.labels, class_names=list(images.class_names), name="garments")


@pytest.fixture(scope="module")
def made(data):
    return PerturbationDenoiser(**SMALL).fit(data, rng=Randomness(0))


@pytest.mark.covers("5.11", "5.15")
def test_the_card_tells_pairs_rates_and_false_alarms(made):
    card = made.card
    assert (card.kind, card.architecture) == ("denoiser", {"name": "residual_denoiser", "depth": 3, "width": 4})
    (rate,) = card.lineage.recipe["pairs"].values()
    broken, _, attacked, _ = rate.split()
    assert 0 < int(broken) < int(attacked) <= 36
    assert set(card.lineage.recipe["kept"]) == {
        f"{view}.{which}" for view in ("crop_and_pad", "cutmix") for which in ("benign", "adversarial")
    }
    assert card.metrics["val.images"] == 4, "a tenth is held out"
    assert 0 <= card.metrics["val.false_alarms"] <= 1
    assert {"val.pa_benign", "val.pa_adversarial", "val.d"} <= set(card.metrics)
    assert 0 < card.metrics["carried_over"] < 1
    assert len(card.history) == 2


def test_pairs_of_a_victim_all_carry_over_to_itself(data):
    own = PerturbationDenoiser(**{**SMALL, "surrogate": "bundled:fashion-cnn"}).fit(data, rng=Randomness(0))
    assert own.card.metrics["carried_over"] == 1.0


def test_the_seed_says_the_weights_and_a_stop_changes_nothing(data, made, tmp_path):
    other = PerturbationDenoiser(**SMALL).fit(data, rng=Randomness(1))
    assert not all(torch.equal(other.tensors[name], value) for name, value in made.tensors.items())

    class Stopping:
        def begin(self, task, total): ...
        def finish(self, task): ...
        def advance(self, task, amount, note=""):
            if task == "train" and note.startswith("epoch 2"):
                raise KeyboardInterrupt

    checkpoint = tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        PerturbationDenoiser(**SMALL).fit(data, rng=Randomness(0), checkpoint=checkpoint, progress=Stopping())
    assert checkpoint.exists()
    resumed = PerturbationDenoiser(**SMALL).fit(data, rng=Randomness(0), checkpoint=checkpoint)
    assert all(torch.equal(resumed.tensors[name], value) for name, value in made.tensors.items())


def test_pairs_on_the_disk_make_the_same_denoiser_and_are_kept(data, made, tmp_path):
    kept = PerturbationDenoiser(**SMALL, pair_folder=str(tmp_path / "pairs"))
    found = kept.fit(data, rng=Randomness(0))
    for name, value in made.tensors.items():
        assert torch.allclose(found.tensors[name], value, atol=1e-5), name
    assert found.card.lineage.recipe["pairs"] == made.card.lineage.recipe["pairs"]
    assert found.card.metrics["carried_over"] == made.card.metrics["carried_over"]
    records = sorted(tmp_path.glob("pairs/*/0/pairs.json"))
    assert [path.parts[-3] for path in records] == ["train", "val"]
    with pytest.raises(RunConflictError, match="other images, classifiers or attacks"):
        kept.fit(data, rng=Randomness(1))
    assert "rounded" in PerturbationDenoiser(**SMALL, pair_folder="folder", eight_bits=False).missing()


def test_it_is_delivered_as_a_denoiser_and_scanned_with(data, tmp_path):
    delivered = train(PerturbationDenoiser(**SMALL), data, out=tmp_path / "made", test=data)
    assert {path.name for path in delivered.folder.iterdir()} == {"weights.safetensors", "card.json", "README.md"}
    assert delivered.notes == ("neither model.onnx nor an audit: a denoiser decides nothing",)
    card = (delivered.folder / "README.md").read_text()
    assert "snellen scan perturbation MODEL IMAGES --denoiser artifact:FOLDER" in card
    assert "Classifies images" not in card
    assert "it is no defence" in card
    assert "pipeline_tag: image-to-image" in card
    loaded = load_denoiser(f"artifact:{delivered.folder}")
    assert loaded.preparation.size == (28, 28)
    with pytest.raises(InputError, match="holds a denoiser, not a classifier"):
        snellen.load_classifier(f"artifact:{delivered.folder}")
    scanned = snellen.scan(
        snellen.load_classifier("bundled:fashion-cnn"),
        data.limit(3),
        Perturbation(denoiser=f"artifact:{delivered.folder}"),
    )
    assert len(scanned.evidence) == 3


def test_a_val_split_is_what_is_held_out(data):
    splits = ["val" if row % 4 == 0 else "train" for row in range(40)]
    split = replace(data, table=data.table.append_column("split", pa.array(splits)))
    # A base that makes everything nearly black changes most decisions, and one small step does not mend it.
    network = ResidualDenoiser(depth=3, width=4)
    with torch.no_grad():
        for layer in network.added[:-1]:
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.abs_()
        network.added[-1].weight.fill_(0.5)
    method = PerturbationDenoiser(**{**SMALL, "plan": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-9}})
    base = Artifact(
        network.state_dict(),
        Card(
            name="black",
            kind="denoiser",
            architecture=architecture(3, 4),
            preparation=Preprocessing(size=(28, 28)).model_dump(mode="json"),
            lineage=Lineage(recipe={}, data="", seed=0, code_version="0"),
        ),
    )
    made = method.fit(split, base=base, rng=Randomness(0))
    assert made.card.metrics["val.images"] == 10
    network.load_state_dict(dict(made.tensors))
    held = torch.stack([Preprocessing(size=(28, 28)).pixels(data.read(row)) for row in range(0, 40, 4)]) / 255
    victim = snellen.load_classifier("bundled:fashion-cnn")
    changed = benign_figures(network.eval(), held, unbounded_scores(victim))["changed"]
    assert made.card.metrics["val.false_alarms"] == pytest.approx(changed, abs=1e-5)
    assert changed > 0.3


@pytest.mark.covers("5.12", "5.13")
def test_every_option_reaches_what_it_is_an_option_of(data, monkeypatch):
    asked = []

    def noticing(network, pairs, surrogate, **options):
        asked.append((pairs, options))
        return fit_denoiser(network, pairs, surrogate, **options)

    monkeypatch.setattr(perturbation_denoiser, "fit_denoiser", noticing)
    PerturbationDenoiser(**SMALL).fit(data, rng=Randomness(0))
    other = {
        "eight_bits": False, "views": ("flip",), "reconstruction_weight": 2, "benign_weight": 3,
        "adversarial_weight": 4, "squared": True, "parity": True,
    }  # fmt: skip
    PerturbationDenoiser(**SMALL, **other).fit(data, rng=Randomness(0))
    (pairs, plain), (raw, changed) = asked
    assert (plain["views"], plain["parity"], plain["weights"]) == (("crop_and_pad", "cutmix"), False, LossWeights())
    assert (changed["views"], changed["parity"], changed["weights"]) == (("flip",), True, LossWeights(2, 3, 4, True))
    levels = [joined(cells).adversarial * 255 for cells in (pairs, raw)]
    assert [torch.allclose(one, one.round(), atol=1e-3) for one in levels] == [True, False]
    # Pairs that choose the epoch are of other images than those that are learnt from.
    learnt, held = ({one for cell in cells for one in cell.ids} for cells in (pairs, plain["val"]))
    assert held
    assert not learnt & held
    assert set(plain["victims"]) == set(SMALL["victims"])


@pytest.mark.covers("5.8")
def test_the_baselines_are_weights():
    plain = PerturbationDenoiser(**SMALL, benign_weight=0, adversarial_weight=0, views=())
    stable = PerturbationDenoiser(**SMALL, reconstruction_weight=0, benign_weight=1, adversarial_weight=0, views=())
    for method in (plain, stable):
        assert method.missing() is None
    nothing = PerturbationDenoiser(**SMALL, reconstruction_weight=0, benign_weight=0, adversarial_weight=0)
    assert nothing.missing() == "has nothing to minimise: all three weights are 0"


def test_numbers_that_a_plan_leaves_out_are_the_published_ones():
    method = PerturbationDenoiser(plan={"epochs": 2})
    assert (method.plan.batch_size, method.plan.learning_rate, method.plan.select) == (4, 1e-4, "pa_benign")
    assert PerturbationDenoiser().plan == PLAN
    assert (PerturbationDenoiser().depth, PerturbationDenoiser().width) == (17, 64)
    assert (PerturbationDenoiser().benign_weight, PerturbationDenoiser().adversarial_weight) == (0.025, 0.025)
    assert [attack.name for attack in PerturbationDenoiser().attacks] == ["fgsm", "pgd", "carlini_wagner_l2"]


def test_gone_on_from_a_denoiser_of_the_same_form_alone(data, made):
    other = made.card.model_copy(update={"architecture": {"name": "residual_denoiser", "depth": 4, "width": 4}})
    with pytest.raises(InputError, match="expected a denoiser"):
        PerturbationDenoiser(**SMALL).fit(data, base=Artifact(made.tensors, other), rng=Randomness(0))
    saved = Artifact(made.tensors, made.card.model_copy(update={"sha256": "f" * 64}))
    gone_on = PerturbationDenoiser(**SMALL).fit(data, base=saved, rng=Randomness(0))
    assert gone_on.card.lineage.parent == "f" * 64
    assert not all(torch.equal(gone_on.tensors[name], value) for name, value in made.tensors.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surrogate": None}, "needs a surrogate"),
        ({"victims": ()}, "needs a surrogate"),
        ({"attacks": ()}, "needs an attack"),
        ({"plan": {"select": "accuracy"}}, "chooses the epoch by one of d, "),
        ({"attacks": ({"method": "fgsm", "epsilon": 0.0},)}, "no attack succeeded"),
        ({"victims": ("bundled:scene-cnn",)}, "the victim bundled:scene-cnn takes images of"),
        (
            {"plan": {"epochs": 1, "batch_size": 500}},
            r"\d+ attacks succeeded, fewer than the 500 pairs of a batch; give",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(data, changes, message):
    with pytest.raises(InputError, match=message):
        PerturbationDenoiser(**{**SMALL, **changes}).fit(data, rng=Randomness(0))


def test_classifiers_of_several_labels_are_refused(data, monkeypatch):
    plain = perturbation_denoiser.load_classifier

    def load(reference, **how):
        loaded = plain(reference, **how)
        loaded.task = "multilabel" if reference == "bundled:fashion-cnn" else loaded.task
        return loaded

    monkeypatch.setattr(perturbation_denoiser, "load_classifier", load)
    with pytest.raises(InputError, match="bundled:fashion-cnn is of the task 'multilabel'; pairs have one decision"):
        PerturbationDenoiser(**SMALL).fit(data, rng=Randomness(0))


def test_test_images_and_single_images_are_refused(data):
    with pytest.raises(InputError, match="holds test images"):
        PerturbationDenoiser(**SMALL).fit(replace(data, split="test"), rng=Randomness(0))
    with pytest.raises(InputError, match="one to hold out"):
        PerturbationDenoiser(**SMALL).fit(data.select([0]), rng=Randomness(0))


@pytest.mark.covers("5.7", "5.11")
def test_each_victim_has_pairs_of_its_own_mistakes(data, tmp_path):
    """A victim of random weights beside a trained one: what each gets right differs, and so do the pairs."""
    torch.manual_seed(1)
    network = FashionCNN(widths=(4, 8, 8))
    card = Card(
        name="random",
        kind="classifier",
        architecture={"name": "fashion_cnn", "widths": [4, 8, 8], "class_count": 10},
        class_names=data.class_names,
        preparation=Preprocessing(size=(28, 28)).model_dump(mode="json"),
        lineage=Lineage(recipe={}, data="", seed=0, code_version="0"),
    )
    Artifact(network.state_dict(), card).save(tmp_path / "random")
    victims = ("bundled:fashion-cnn", f"artifact:{tmp_path}/random")
    made = PerturbationDenoiser(**{**SMALL, "victims": victims}).fit(data, rng=Randomness(0))
    told = json.dumps(made.card.lineage.recipe["pairs"])
    rates = made.card.lineage.recipe["pairs"]
    assert list(rates) == [f"fgsm on {victim}" for victim in victims], told
    attacked = [int(rate.split()[2]) for rate in rates.values()]
    assert attacked[1] < attacked[0], told
    assert "false_alarms" in model_card(made.card)


def test_classifiers_of_several_sizes_are_asked_at_one(data, monkeypatch):
    """As Inception of 299 pixels beside VGG-19 of 224: here 28 pixels beside 20."""
    real, sizes = perturbation_denoiser.load_classifier, []

    def load(reference, size=None):
        given = {"bundled:fashion-judge": 20}.get(reference) if size is None else size
        sizes.append(size)
        return real(reference, size=given)

    monkeypatch.setattr(perturbation_denoiser, "load_classifier", load)
    with pytest.raises(InputError, match=r"of \(28, 28\), .* of \(20, 20\) .*choose one size with --size"):
        PerturbationDenoiser(**SMALL).fit(data, rng=Randomness(0))
    made = PerturbationDenoiser(**SMALL, size=24).fit(data, rng=Randomness(0))
    assert sizes == [None, None, 24, 24]
    assert made.card.preparation["size"] == [24, 24]
    assert made.card.lineage.recipe["size"] == 24
