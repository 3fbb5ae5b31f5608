"""What a certificate of forgetting warns of: that nothing was forgotten, that much was lost, that images come back."""

from __future__ import annotations

from snellen.methods.forgetting.relearning import came_back
from snellen.verbs.forgotten_set import ForgottenRow


def still_known(before: ForgottenRow, after: ForgottenRow) -> str | None:
    """A warning, in words, where an attack still finds the forget images and they are decided as before."""
    was, found = before.figures.unlearning, after.figures.unlearning
    areas = [one for one in (after.figures.separation, after.likelihood) if one is not None]
    found_out = [one for one in areas if float(one.low or 0) > 0.5]
    if not found_out or float(found.low or 0) > float(was.value or 0):
        return None
    highest = max(float(one.value or 0) for one in found_out)
    return (
        f"No forgetting was measured. An attack still separates forget from test images (area "
        f"{highest:.2f}; 0.5: not at all), and as many are right as before, within the interval."
    )


#: A fall of the accuracy on remaining images, from the lower end before to the upper end after, that damages.
DAMAGE = 0.1


def damaged(before: ForgottenRow, after: ForgottenRow) -> str | None:
    """A warning, in words, where forgetting cost what was to remain; None too where no interval says so."""
    was, left = before.figures.remaining, after.figures.remaining
    if was.value is None or was.low is None or left.value is None or left.high is None:
        return None
    if left.high > was.low - DAMAGE:
        return None
    return (
        f"Forgetting damaged the classifier: {left.value:.0%} of the remaining training images are right, "
        f"of {was.value:.0%} before. Try a lower --learning-rate, or fewer --epochs; methods that train on "
        f"the forget set alone (gradient ascent, boundary methods) need a rate that is chosen."
    )


def relearned(after: ForgottenRow, exact: ForgottenRow | None) -> str | None:
    """A warning, in words, where fine-tuning with other images brought forget images back."""
    if not after.relearned:
        return None
    last, retrained = after.relearned[-1], exact.relearned[-1] if exact is not None and exact.relearned else None
    if not came_back(after.figures, last, retrained):
        return None
    passes = "one pass" if len(after.relearned) == 1 else f"{len(after.relearned)} passes"
    became = (
        f"{after.figures.unlearning.value:.0%} of them were wrong, and {last.unlearning.value:.0%} are after {passes} "
        f"of fine-tuning with other images"
    )
    if retrained is None:
        return (
            f"More of the forgotten images are right again: {became}. Only a network that never saw them (--retrain) "
            f"shows whether they came back, or are as easy as others."
        )
    return (
        f"Forgotten images came back: {became}; of a network that never saw them, {retrained.unlearning.value:.0%} are."
    )
