"""Evidence of answers that are known: which trajectories a classifier gets right at which strength."""

from snellen.core.evidence import Evidence
from snellen.metrics.sweep import setting_name


def evidence_of(answers, strengths):
    """Shift → classifier → rows of 0 and 1 for each trajectory."""
    parts = []
    for shift, models in answers.items():
        for model, rows in models.items():
            for at, strength in enumerate(strengths):
                parts.append(
                    Evidence.of(
                        [f"{shift}/{row}" for row in range(len(rows))],
                        setting=setting_name(shift, strength),
                        model=model,
                        unit_ids=[str(row) for row in range(len(rows))],
                        label=[1] * len(rows),
                        prediction=[int(row[at]) for row in rows],
                    )
                )
    return Evidence.merge(parts)
