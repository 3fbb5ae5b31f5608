"""The verb ``snellen.forget``: a classifier without what it learned from some images, and how well it forgot them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from safetensors.torch import load_file, save_file

from snellen.core.errors import InputError, ModelError, UnsupportedError
from snellen.core.images import ImageSet
from snellen.core.method import Method, build
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import Run, write_atomically
from snellen.core.run_plan import describe_data, describe_machine, describe_model
from snellen.data.rejections import check_rejected
from snellen.methods.forgetting.forget_split import ForgetSplit, rows_of_classes, rows_of_ids
from snellen.methods.forgetting.forgetter import Forgetter
from snellen.methods.forgetting.judging import ForgettingCase, Judgement, falls_short, left_out_words, random_rows
from snellen.methods.forgetting.relearning import Relearning, relearning_images
from snellen.methods.forgetting.retraining import Retraining, as_trained
from snellen.methods.forgetting.shadows import Shadows
from snellen.models.classifiers.trainable import trained_classifier
from snellen.runs.given import Images, Model, given_classifier, given_images
from snellen.runs.measuring import Put
from snellen.runs.record import Figure
from snellen.runs.runner import Call, Running, carried_out
from snellen.runs.settings import Methods, Setting, named_settings
from snellen.runs.shard import Shard
from snellen.verbs.forgetting_costs import ForgettingCosts, forecast
from snellen.verbs.forgetting_warnings import damaged, relearned, still_known
from snellen.verbs.forgotten_page import render_forgotten
from snellen.verbs.forgotten_set import AS_IT_WAS, PAGE, RETRAINED, WHAT, ForgottenRow, ForgottenSet, not_tested
from snellen.verbs.treatment_delivery import delivered

#: What progress calls it.
TASK = "forgetting"

#: Folder of the classifier, and of its weights until it is written.
CLASSIFIER, WEIGHTS = "classifier", "forgotten.safetensors"

#: The forget set of the call, and one that a search found to be the hardest, among random ones.
YOURS, WORST = "yours", "worst-case"

#: A network that an attacker trains.
SHADOW = "shadow"


@dataclass(frozen=True, eq=False)
class Networks:
    """What is made and judged. An item is a network beside a forget set.

    Attributes:
        case: classifier and images.
        split: which images to forget.
        setting: the method, named.
        exact: retraining; None: it is not run.
        random_sets: how many random sets of as many images.
        worst: rows of the worst-case set, int64; None: there is none.
        shadows: of an attack by likelihood ratios; None: it is not run.
        relearning: fine-tuning with other images, after forgetting; None: it is not run.
        seed: of everything random.
        run: holds the weights of the network that forgot, until they are delivered.
    """

    case: ForgettingCase
    split: ForgetSplit
    setting: Setting
    exact: Retraining | None
    random_sets: int
    worst: torch.Tensor | None
    shadows: Shadows | None
    relearning: Relearning | None
    seed: int
    run: Run | None = None

    @property
    def items(self) -> list[tuple[str, str]]:
        """Names of networks, and of the sets that they are judged beside."""
        exact = [] if self.exact is None else [(RETRAINED, YOURS)]
        worst = [] if self.worst is None else [(self.setting.name, WORST)]
        random = [(self.setting.name, f"random {number}") for number in range(1, self.random_sets + 1)]
        shadows = 0 if self.shadows is None else self.shadows.count
        return [
            (AS_IT_WAS, YOURS),
            (self.setting.name, YOURS),
            *exact,
            *worst,
            *random,
            *((SHADOW, str(number)) for number in range(shadows)),
        ]

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Make and judge a network; see :class:`~snellen.runs.measuring.Work`."""
        (item,) = items
        name, forget_set = self.items[item]
        if name == SHADOW:
            assert self.shadows is not None
            sure = self.shadows.trained(int(forget_set), progress=progress)
            progress.advance(TASK, 1)
            return Shard(extra={"certainty": sure.tolist()})
        split = self.split
        if forget_set != YOURS:
            split = ForgetSplit(split.images, self.rows_beside(forget_set))
        network = self.case.network()
        if name != AS_IT_WAS:
            method = self.exact if name == RETRAINED else self.setting.method
            assert isinstance(method, Forgetter)
            network = method.forget(network, split, rng=Randomness(self.seed).child(name), progress=progress)
        if (name, forget_set) == (self.setting.name, YOURS) and self.run is not None:
            save_file(
                {key: one.detach().cpu().clone().contiguous() for key, one in network.state_dict().items()},
                self.run.folder / WEIGHTS,
            )
        figures = self.case.judge(network, split, seed=self.seed)
        progress.advance(TASK, 1)
        extra: dict[str, Any] = {"figures": figures.model_dump(mode="json")}
        if self.relearning is not None and forget_set == YOURS and name != AS_IT_WAS:
            judge = partial(self.case.judge, split=split, seed=self.seed)
            try:
                course = self.relearning.curve(network, judge, Randomness(self.seed).child("relearning"))
                extra["relearned"] = [one.model_dump(mode="json") for one in course]
            except (ModelError, UnsupportedError) as error:  # the images are forgotten all the same
                extra["unjudged"] = str(error)
        if self.shadows is not None and forget_set == YOURS:
            extra["certainty"] = self.shadows.certainty(network).tolist()
        return Shard(extra=extra)

    def rows_beside(self, forget_set: str) -> torch.Tensor:
        """Rows of the worst-case set, or of a random one of as many images as yours."""
        if forget_set == WORST and self.worst is not None:
            return self.worst
        return random_rows(len(self.split.rows), len(self.split.images), Randomness(self.seed).child(forget_set))


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
def forget(
    classifier: Model,
    images: Images,
    method: Methods,
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence[str] = (),
    test: Images | None = None,
    retrain: bool | Retraining | Mapping[str, Any] = False,
    random_sets: int = 1,
    worst_case: Sequence[str] | None = None,
    shadows: int = 0,
    relearn_epochs: int = 3,
    relearn: Images | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> ForgottenSet:
    """Remove what a classifier learned from some of its training images, and measure how well that worked.

    ``out`` gets ``classifier/``, in the form that the classifier came in, ``forget.html``, and ``forget.json``, the
    certificate, last: forget images that are wrong now, remaining and test images that are right, and a membership
    attack, each with its interval, beside random sets of as many images and, where it was run, exact retraining. It
    also holds the same figures after fine-tuning with other images.

    Args:
        classifier: see :func:`snellen.load_classifier`; it needs weights.
        images: all images that it was trained on, labelled; see :func:`snellen.load_images`.
        method: one method of the area ``forgetting``, as an object, a name or a record.
        ids: of the images to forget. classes: whose images are forgotten. Of both, each image counts once.
        test: labelled images that nothing was trained on; None: rows of ``images`` whose split is ``test``.
        retrain: also retrain without the forget set. True repeats the recipe in the lineage of an artifact; else the
            numbers of the retraining, such as ``{"plan": {"epochs": 30}}``.
        random_sets: random forget sets that the method is judged on as well.
        shadows: networks that are retrained for a stronger membership attack (LiRA), even, 4 or more; 0: it is not run.
            They are trained by the recipe of ``retrain``, or that in the lineage.
        worst_case: ids of the forget set that a search found to be the hardest; the method is judged on it as well.
        relearn_epochs: passes of fine-tuning after forgetting, which show whether the images come back; 0: it is not
            run. The classifier that is written has none of them.
        relearn: labelled images of that fine-tuning, none of them to forget; None: the remaining training images. Their
            classes may be others: a last layer of their own is trained then.
        out: a new or empty folder, or one in which the same call was interrupted; None: nothing is kept.
        seed: of everything random.
        class_names: in the order of the outputs, where the model does not name them.
        columns: what the columns of a table, or the fields of a data set, mean: ``{"image": "file", "label": "dx"}``.
        progress: callback that receives progress updates.
        running: allow_rejected, threads; neither a budget, parts, nor other engines than ``in_process``.

    Raises:
        InputError: nothing to forget, or everything; ids twice or of no image; no test images; no known recipe for a
            retraining; several methods.
        UnsupportedError: a classifier without weights.
        ModelError: the method diverges; a lower rate may help.
    """
    listener = progress or Silent()
    settings = named_settings(method, "forgetting")
    if len(settings) > 1:
        raise InputError(f"a classifier forgets by one method at a time; got {', '.join(one.name for one in settings)}")
    for what, number in (("random sets", random_sets), ("passes of fine-tuning after forgetting", relearn_epochs)):
        if number < 0:
            raise InputError(f"{what} are counted from 0; got {number}")
    held = given_images(images, None, columns)
    model = given_classifier(classifier, held, class_names)
    case = ForgettingCase.of(model, held, None if test is None else given_images(test), progress=progress)
    split = ForgetSplit(case.store, _rows(case, ids, classes))
    exact = _exact(retrain, case)
    attack: Shadows | None = None
    if shadows:
        recipe = exact or _exact(True, case)
        assert recipe is not None
        attack = Shadows(case, split, recipe, shadows, Randomness(seed).child("shadows"))
    worst = None if worst_case is None else rows_of_ids(case.store, list(worst_case))
    again = _relearning(case, split, relearn_epochs, None if relearn is None else given_images(relearn))
    work = Networks(case, split, settings[0], exact, random_sets, worst, attack, again, seed)
    if running.get("budget") is not None or running.get("part") is not None:
        raise InputError("forgetting takes neither a budget nor a part: the classifier is made by one process, whole")

    def call(_: int) -> Call[ForgottenSet]:
        return Call(
            what=WHAT,
            result=ForgottenSet,
            plan=lambda: {
                "kind": "forget",
                "model": describe_model(model),
                "data": describe_data(case.images, listener),
                "test": case.test.fingerprint(),
                "forget": [case.store.ids[row] for row in split.rows.tolist()],
                "settings": [{"setting": work.setting.name, **work.setting.record}],
                "retraining": None if work.exact is None else work.exact.record(),
                "random_sets": random_sets,
                "worst_case": None if worst is None else [case.store.ids[row] for row in worst.tolist()],
                "relearning": None if again is None else again.record(),
                **({} if attack is None else {"shadows": shadows, "shadow_recipe": attack.exact.record()}),
                "seed": seed,
                **describe_machine(model),
            },
            work=lambda run: replace(work, run=run),
            shards=[range(item, item + 1) for item in range(len(work.items))],
            task=TASK,
            conclude=lambda run, folder: _conclude(work, run, folder, seed),
            classifiers=(model,),
            forecast=lambda: forecast(work),
            costs=lambda: (str(ForgettingCosts.of(work)),),
            rejected=lambda _: (),
            name=case.images.name,
        )

    with carried_out(call, len(work.items), out, listener, running) as carried:
        carried.measure()
    return carried.result


def _rows(case: ForgettingCase, ids: Sequence[str] | None, classes: Sequence[str]) -> torch.Tensor:
    """Rows of the images to forget, by id and by class."""
    if ids is None and not classes:
        raise InputError(
            "nothing is named to forget: give ids of images with ids=... (--ids FILE), or classes (--class)"
        )
    damaged = [one for one in ids or () if one in case.store.rejected]
    if damaged:
        raise InputError(
            f"{len(damaged)} of {len(ids or ())} images to forget cannot be read, the first is {damaged[0]!r}: "
            f"{case.store.rejected[damaged[0]]}. Mend the file, or leave its id out"
        )
    parts = [] if ids is None else [rows_of_ids(case.store, list(ids))]
    if classes:
        parts.append(rows_of_classes(case.store, classes, case.classifier.class_names))
    return torch.cat(parts).unique()


def _relearning(case: ForgettingCase, split: ForgetSplit, passes: int, images: ImageSet | None) -> Relearning | None:
    """Fine-tuning after forgetting; None where there is no pass.

    Raises:
        InputError: images, and no pass; see :func:`~snellen.methods.forgetting.relearning.relearning_images`.
    """
    if not passes:
        if images is not None:
            raise InputError(f"{images.name} is to fine-tune with, and the passes are 0; give 1 or more")
        return None
    if images is None:
        return Relearning(split.remaining, passes)
    own = case.classifier
    forgotten = case.images.select(split.rows.numpy())
    store, classes = relearning_images(images, own.class_names, own.preparation, forgotten)
    check_rejected(store.rejected, len(images), images.name, allowed=False)
    notes = left_out_words("fine-tuning", store.rejected)
    if classes is not None:
        notes += (
            f"The {classes} classes of {images.name} are others than the classifier's. A last layer of their own was "
            f"trained to fine-tune; the classifier got its own back to be judged.",
        )
    return Relearning(store, passes, classes, notes=notes)


def _exact(retrain: bool | Retraining | Mapping[str, Any], case: ForgettingCase) -> Retraining | None:
    """The retraining of the call; None where it names none.

    Raises:
        InputError: the recipe is not known.
    """
    if retrain is False:
        return None
    if retrain is not True:
        made: Method = build(
            "forgetting", retrain if isinstance(retrain, Method) else {"method": "retraining", **retrain}
        )
        if not isinstance(made, Retraining):
            raise InputError(f"a retraining is compared with, got {made.name}")
        if isinstance(retrain, Method):
            return made
    else:
        made = Retraining()
    remedy = "--retraining '{\"plan\": {\"epochs\": 30}}'; in Python retrain={'plan': {'epochs': 30}}"
    return as_trained(made, case.classifier.recipe or {}, case.classifier.name, remedy)


def _attacked(work: Networks, extra: Mapping[str, Any], shadows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """What the attack by likelihood ratios finds in a network; None where it was not run on it."""
    if work.shadows is None or "certainty" not in extra:
        return None
    return work.shadows.separation(extra["certainty"], [one["certainty"] for one in shadows])


def _conclude(work: Networks, run: Run, folder: Path, seed: int) -> ForgottenSet:
    """Deliver the classifier, and make the certificate and its page."""
    case, setting = work.case, work.setting
    network = case.network()
    network.load_state_dict(load_file(run.folder / WEIGHTS))
    made = trained_classifier(
        case.classifier, network.eval(), f"forgot {len(work.split.rows)} images by {setting.name}"
    )
    place = folder / CLASSIFIER
    place.mkdir(exist_ok=True)
    forgetting = {**setting.record, "forgotten": len(work.split.rows)}
    reference, missing = delivered(case.classifier, made, place, forgetting, work.split.remaining.fingerprint(), seed)
    held = [run.shard_extra(item) for item in range(len(work.items))]
    judged = [item for item in work.items if item[0] != SHADOW]
    ours = held[: len(judged)]
    figures = [Judgement.model_validate(one["figures"]) for one in ours]
    attacks = [_attacked(work, one, held[len(judged) :]) for one in ours]
    exact = figures[work.items.index((RETRAINED, YOURS))] if work.exact is not None else None
    rows = tuple(
        ForgottenRow(
            network=name,
            forget_set=forget_set,
            figures=found,
            gap=found.gap(exact) if exact is not None and forget_set == YOURS and name != RETRAINED else None,
            likelihood=attack,
            relearned=tuple(Judgement.model_validate(one) for one in extra.get("relearned", ())),
        )
        for (name, forget_set), found, attack, extra in zip(judged, figures, attacks, ours, strict=True)
    )
    notes = [*case.notes, *missing]
    if exact is not None:
        notes += falls_short(figures[work.items.index((AS_IT_WAS, YOURS))], exact, "your images")
    if lost := work.split.lost_classes(case.classifier.class_names):
        notes.append(f"No image of {', '.join(lost)} remains: a network that is retrained never decides for it.")
    own = rows[work.items.index((setting.name, YOURS))]
    before = rows[work.items.index((AS_IT_WAS, YOURS))]
    retrained = rows[work.items.index((RETRAINED, YOURS))] if work.exact is not None else None
    found_out = (still_known(before, own), damaged(before, own), relearned(own, retrained))
    notes = [*(one for one in found_out if one is not None), *notes]
    unjudged = dict.fromkeys(one["unjudged"] for one in ours if "unjudged" in one)
    notes += [f"Fine-tuning after forgetting could not be judged: {why}" for why in unjudged]
    notes += [] if work.relearning is None else work.relearning.notes
    if work.worst is not None and len(work.worst) != len(work.split.rows):
        notes.append(
            f"The worst-case set holds {len(work.worst)} images and yours {len(work.split.rows)}: search one of as "
            f"many (--count) to compare them."
        )
    if exact is None:
        notes.append(
            "Exact retraining was not run (--retrain): what a network that never saw the images does is unknown."
        )
    labels = torch.bincount(work.split.forgotten.targets, minlength=len(case.classifier.class_names)).tolist()
    result = ForgottenSet(
        plan=dict(run.plan),
        files=(*sorted(one.relative_to(folder).as_posix() for one in place.rglob("*") if one.is_file()), PAGE),
        folder=folder,
        count=len(work.split.rows),
        ids=work.split.forgotten.ids,
        classes=dict(zip(case.classifier.class_names, labels, strict=True)),
        rows=rows,
        reference=None if reference is None else reference.replace(f":{folder}/", ":"),
        notes=tuple(notes),
        not_tested=not_tested(shadows=work.shadows is not None, relearning=bool(own.relearned)),
    )
    write_atomically(folder / PAGE, render_forgotten(result).encode())
    return result
