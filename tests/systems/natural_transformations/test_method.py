"""The recipe from images to an ordinary classifier: generator, codes, judge, log; bad input; going on after a stop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import snellen
from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.method import build
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.models.classifiers.references import load_classifier
from snellen.systems.natural_transformations import autoencoder as fitting
from snellen.systems.natural_transformations import editing
from snellen.systems.natural_transformations import method as module
from snellen.systems.natural_transformations.autoencoder import (
    PLAN,
    Autoencoder,
    AutoencoderSettings,
    AutoencoderTraining,
    fit_autoencoder,
)
from snellen.systems.natural_transformations.editing import EditSettings, inverted
from snellen.systems.natural_transformations.inversion import InversionSettings
from snellen.training.batches import ImageStore
from tests.systems.natural_transformations.parts import LATENT, SHAPE, pictures

SMALL = AutoencoderSettings(latent=LATENT, widths=(12, 8, 8), plan=PLAN.model_copy(update={"epochs": 2}))
FAST = {
    "architecture": "fashion_cnn",
    "side": 16,
    "autoencoder": SMALL,
    "inversion": InversionSettings(codes=2, steps=1, expansion_steps=1, perceptual=0.1),
    "edits": {"count": 2, "most_changed": 1.0, "least_visible": 0.0, "least_psnr": 0.0, "draws": 2},
    "plan": {"epochs": 2, "batch_size": 16},
}


def coloured(count=40, seed=0):
    """Reddish and bluish blurred noise, in two classes."""
    labels = np.arange(count) % 2
    images = 0.5 * pictures(count, seed)
    images[:, 0] += torch.from_numpy(0.4 * (labels == 0)).float()[:, None, None]
    images[:, 2] += torch.from_numpy(0.4 * (labels == 1)).float()[:, None, None]
    pixels = (images.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).numpy()
    return load_arrays(pixels, labels, class_names=["red", "blue"], name="coloured")


def recipe(**changes):
    return build("recipes", {"method": "natural_transformations", **FAST, **changes})


@pytest.fixture(scope="module")
def made():
    both = join([as_split(coloured(), "train"), as_split(coloured(10, seed=1), "val")])
    return recipe().fit(both, rng=Randomness(0))


@pytest.mark.covers("26.1")
@pytest.mark.covers("26.6")
def test_the_result_is_an_ordinary_classifier_with_the_log_of_every_direction(made, tmp_path):
    made.save(tmp_path / "made")
    classifier = load_classifier(f"artifact:{tmp_path / 'made'}")
    assert classifier(torch.rand(2, 3, 16, 16)).shape == (2, 2)
    facts = made.card.lineage.recipe
    assert facts["images_not_edited"] == 0
    assert 0 <= facts["labels_changed_by_edits"] <= 1
    assert facts["reconstruction_psnr"] > 5
    assert next(row["direction"] for row in facts["directions"]) == "principal 1, coarse layers"
    assert len(facts["directions"]) == 6
    assert all(len(row["by_class"]) == 2 for row in facts["directions"])
    assert "val.accuracy" in made.card.metrics


@pytest.mark.covers("26.1")
def test_badly_reconstructed_images_are_left_out_and_counted():
    psnr = torch.tensor([30.0, 10.0])

    def mixed(autoencoder, store, settings, **options):
        generator, codes, _ = inverted(autoencoder, store, settings, **options)
        return generator, codes, psnr[torch.arange(len(codes)) // 2 % 2]

    plain = module.inverted
    module.inverted = mixed
    try:
        edits = {**FAST["edits"], "least_psnr": 20.0}
        found = recipe(edits=edits).fit(coloured(), rng=Randomness(0))
        assert found.card.lineage.recipe["images_not_edited"] == 20
        with pytest.raises(InputError, match=r"no training image is reconstructed with 40 dB or more \(the mean is 20"):
            recipe(edits={**edits, "least_psnr": 40.0}).fit(coloured(), rng=Randomness(0))
    finally:
        module.inverted = plain


def test_a_stopped_run_goes_on_and_ends_alike(tmp_path, monkeypatch):
    path = tmp_path / "training.safetensors"
    whole = recipe().fit(coloured(), rng=Randomness(3))
    calls, plain = [], module.prepare_editing

    def stopped(*given, **options):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return plain(*given, **options)

    monkeypatch.setattr(module, "prepare_editing", stopped)
    with pytest.raises(KeyboardInterrupt):
        recipe().fit(coloured(), rng=Randomness(3), checkpoint=path)
    left = {one.name for one in tmp_path.iterdir()}
    assert left == {f"training-{part}.safetensors" for part in ("generator", "codes", "judge")}
    monkeypatch.setattr(
        "snellen.systems.natural_transformations.editing.invert", lambda *_, **__: pytest.fail("codes were there")
    )
    again = recipe().fit(coloured(), rng=Randomness(3), checkpoint=path)
    assert all(torch.equal(value, again.tensors[name]) for name, value in whole.tensors.items())


def test_the_command_writes_a_folder_and_leaves_nothing_beside(tmp_path):
    done = snellen.train(recipe(), coloured(), out=tmp_path / "a folder", onnx=False)
    assert not [one.name for one in done.folder.iterdir() if one.name.startswith("training")]


def test_a_kept_generator_is_used_again_and_one_of_other_images_is_refused(tmp_path, monkeypatch):
    keep = tmp_path / "kept here"
    first = recipe(keep=keep).fit(coloured(), rng=Randomness(0))
    monkeypatch.setattr(module, "fit_autoencoder", lambda *_, **__: pytest.fail("trained again"))
    again = recipe(keep=keep).fit(coloured(), rng=Randomness(0))
    assert all(torch.equal(value, again.tensors[name]) for name, value in first.tensors.items())
    named = recipe(generator=keep).fit(coloured(), rng=Randomness(0))
    assert named.card.lineage.recipe["directions"] == first.card.lineage.recipe["directions"]
    with pytest.raises(InputError, match="keeps a generator of other images or settings"):
        recipe(keep=keep).fit(coloured(seed=7), rng=Randomness(0))
    recipe(generator=keep, side=16).fit(coloured(seed=7), rng=Randomness(0))
    with pytest.raises(InputError, match="16 × 16 pixels in 3 channels"):
        recipe(generator=keep, side=32).fit(coloured(), rng=Randomness(0))
    with pytest.raises(InputError, match="is not an artifact"):
        recipe(generator=tmp_path / "nowhere").fit(coloured(), rng=Randomness(0))


def test_a_judge_by_reference_must_know_the_same_classes_at_the_same_size(tmp_path, made):
    made.save(tmp_path / "judge")
    reference = f"artifact:{tmp_path / 'judge'}"
    found = recipe(judge=reference).fit(coloured(), rng=Randomness(0))
    assert found.card.lineage.recipe["judge"] == reference
    swapped = coloured()
    other = load_arrays(
        np.stack([np.array(swapped.read(row)) for row in range(40)]),
        swapped.labels,
        class_names=["a", "b"],
        name="other",
    )
    with pytest.raises(InputError, match="expected those of the training images in their order: a, b"):
        recipe(judge=reference).fit(other, rng=Randomness(0))
    large = {**FAST, "side": 32, "autoencoder": SMALL.model_copy(update={"widths": (8, 8, 8, 8)})}
    with pytest.raises(InputError, match=r"sees images of \(16, 16\), and edits are \(32, 32\)"):
        build("recipes", {"method": "natra", **large, "judge": reference}).fit(coloured(), rng=Randomness(0))


@pytest.mark.covers("26.6")
def test_the_network_that_the_training_starts_from_is_no_judge(tmp_path, made):
    made.save(tmp_path / "start")
    method = recipe(judge=f"artifact:{tmp_path / 'start'}")
    with pytest.raises(InputError, match="has the weights that the training starts from"):
        method.fit(coloured(), base=made, rng=Randomness(0))


def test_epsilon_rises_once_where_several_batches_make_a_step(monkeypatch):
    seen, plain = [], module.with_extra

    def watched(supply, **options):
        def inner(model, batch, reached):
            seen.append(reached)
            return supply(model, batch, reached)

        return plain(inner, **options)

    monkeypatch.setattr(module, "with_extra", watched)
    recipe(plan={"epochs": 3, "batch_size": 8, "accumulate": 2}).fit(coloured(), rng=Randomness(0))
    assert len(seen) == 15
    assert seen == sorted(seen)
    assert seen[0] == 0.0
    assert 0.5 < seen[4] < seen[5] == 1.0


def test_weight_augmentation_and_search_of_the_settings_reach_the_objective(monkeypatch):
    seen, plain = {}, module.with_extra

    def watched(supply, **options):
        seen.update(options, supply=supply)
        return plain(supply, **options)

    monkeypatch.setattr(module, "with_extra", watched)
    edits = {**FAST["edits"], "search": "pga", "steps": 1, "epsilon": 0.5}
    method = recipe(beta=3.0, flips=True, edits=edits)
    found = method.fit(coloured(), rng=Randomness(0)).card.lineage.recipe
    assert (seen["beta"], seen["epochs"], seen["steps"]) == (3.0, 2, 3)
    images, labels = torch.rand(8, 3, 16, 16), torch.arange(8)
    shown = [one(images, labels, Randomness(1).bind(8))[0] for one in (seen["transform"], method.views())]
    assert torch.equal(*shown)
    assert not torch.equal(shown[0], images), "some are mirrored"
    assert (seen["supply"].search, seen["supply"].steps, seen["supply"].epsilon) == ("pga", 1, 0.5)
    assert found["largest_step"] == 0.5
    assert 0 <= found["labels_changed_at_the_end"] <= 1


def test_edits_are_judged_against_the_network_at_both_ends_of_the_training(monkeypatch):
    seen, plain = [], editing.Editing.lost
    monkeypatch.setattr(editing.Editing, "lost", lambda self, network: seen.append(network) or plain(self, network))
    made = recipe().fit(coloured(), rng=Randomness(0))
    first, last = (hash_tensors(network.state_dict()) for network in seen)
    assert first != last == hash_tensors(made.tensors)


def test_the_judge_has_learnt_and_directions_are_judged_at_the_ends_of_training(monkeypatch):
    seen, plain = {}, module.prepare_editing

    def watched(generator, codes, psnr, labels, judge, *given, **options):
        seen.update(judge=judge, labels=labels)
        return plain(generator, codes, psnr, labels, judge, *given, **options)

    def examined(*given, epsilon, **options):
        seen.update(epsilon=epsilon)
        return examine(*given, epsilon=epsilon, **options)

    examine = editing.examine_directions
    monkeypatch.setattr(module, "prepare_editing", watched)
    monkeypatch.setattr(editing, "examine_directions", examined)
    learn = module.train
    monkeypatch.setattr(module, "train", lambda *given, **options: seen.setdefault("made", learn(*given, **options)))
    recipe().fit(coloured(), rng=Randomness(0))
    assert seen["epsilon"] == EditSettings().epsilon
    weights = seen["judge"].network.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in seen["made"].weights.items())


def test_a_file_in_place_of_the_folder_to_keep_is_refused_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "fit_autoencoder", lambda *_, **__: pytest.fail("trained in vain"))
    (tmp_path / "afile").write_text("-")
    with pytest.raises(InputError, match="afile is a file; name a folder"):
        recipe(keep=tmp_path / "afile").fit(coloured(), rng=Randomness(0))


def test_a_generator_without_its_settings_is_refused_in_one_sentence(tmp_path, made):
    store = ImageStore.of_tensors((pictures(40) * 255).byte(), torch.zeros(40, dtype=torch.int64))
    lineage = made.card.lineage.model_copy(update={"recipe": {"method": "other"}})
    fit_autoencoder(store, SMALL, rng=Randomness(0)).save(tmp_path, lineage)
    with pytest.raises(InputError, match="does not say under which settings"):
        Autoencoder.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side": 20}, r"8, 16, 32, 64, … pixels, and these have 20"),
        ({"autoencoder": {"widths": [8, 8]}}, r"16 pixels need 3 widths, one for each block; got \[8, 8\]"),
        ({"block": 3}, r"cut in front of block 1 to 2; got 3"),
        ({"plan": {"epochs": 1, "batch_size": 64, "drop_last": True}}, r"fill no batch of 64"),
    ],
)
def test_settings_that_do_not_fit_end_in_one_sentence(changes, message):
    with pytest.raises(InputError, match=message):
        recipe(**changes).fit(coloured(), rng=Randomness(0))


def test_too_few_images_for_a_generator_are_refused():
    with pytest.raises(InputError, match="10 images are too few to train a generator"):
        recipe().fit(coloured(10), rng=Randomness(0))


# -- the generator -----------------------------------------------------------------------------------------------------


def test_the_critic_learns_from_its_own_loss_alone_and_the_generator_learns_to_pass():
    settings = SMALL.model_copy(update={"adversarial": 1.0})
    torch.manual_seed(0)
    training = AutoencoderTraining(SHAPE, settings)
    images, noise = pictures(4), torch.randn(4, 3, LATENT)
    drawn = torch.randn(2, 3, LATENT)
    without = AutoencoderTraining(SHAPE, settings.model_copy(update={"adversarial": 0.0}))
    without.load_state_dict({key: value for key, value in training.state_dict().items() if "critic" not in key})
    grown = {}
    for name, one in (("with", training), ("without", without)):
        one(images, noise, drawn, False).mean().backward()
        grown[name] = {
            key: value.grad.clone() for key, value in one.generator.named_parameters() if value.grad is not None
        }
    assert any(not torch.allclose(grown["with"][key], grown["without"][key]) for key in grown["without"])
    critic = [value.grad.clone() for value in training.critic.parameters()]
    training.zero_grad()
    training._critic_loss(images, training.generator.synthesis(drawn_codes(training, drawn)).detach(), False).backward()
    for value, before in zip(training.critic.parameters(), critic, strict=True):
        torch.testing.assert_close(value.grad, before, atol=1e-5, rtol=1e-4)


def drawn_codes(training, drawn):
    return fitting.mapped(training.generator, drawn)


def test_training_reconstructs_images_that_it_did_not_see_better():
    plain = torch.rand(120, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 16, 16)
    store = ImageStore.of_tensors((plain * 255).byte(), torch.zeros(120, dtype=torch.int64))
    short, long = (
        fit_autoencoder(
            store, SMALL.model_copy(update={"plan": PLAN.model_copy(update={"epochs": epochs})}), rng=Randomness(0)
        )
        for epochs in (1, 12)
    )
    assert long.metrics["held_out_psnr"] > short.metrics["held_out_psnr"] + 1
    assert long.metrics["held_out_images"] == 12


def test_a_saved_pair_reads_back_and_another_encoder_is_refused(tmp_path, made):
    store = ImageStore.of_tensors((pictures(40) * 255).byte(), torch.zeros(40, dtype=torch.int64))
    pair = fit_autoencoder(store, SMALL, rng=Randomness(0))
    lineage = made.card.lineage.model_copy(
        update={"recipe": {"settings": SMALL.model_dump(mode="json")}, "data": pair.data}
    )
    pair.save(tmp_path, lineage)
    again = Autoencoder.load(tmp_path)
    images = pictures(3)
    assert torch.equal(again.split()(again.start(images)), pair.split()(pair.start(images)))
    assert (again.hashes, again.data, again.settings) == (pair.hashes, pair.data, SMALL)
    assert snellen.core.artifact.Artifact.load(tmp_path / "generator").card.metrics["held_out_images"] == 4
    wide = AutoencoderSettings(latent=LATENT, widths=(8, 8, 8), plan=SMALL.plan)
    fit_autoencoder(store, wide, rng=Randomness(0)).save(
        tmp_path / "wide", lineage.model_copy(update={"recipe": {"settings": wide.model_dump(mode="json")}})
    )
    (tmp_path / "encoder" / "card.json").write_bytes((tmp_path / "wide" / "encoder" / "card.json").read_bytes())
    (tmp_path / "encoder" / "weights.safetensors").write_bytes(
        (tmp_path / "wide" / "encoder" / "weights.safetensors").read_bytes()
    )
    with pytest.raises(InputError, match="encoder is no encoder of"):
        Autoencoder.load(tmp_path)
