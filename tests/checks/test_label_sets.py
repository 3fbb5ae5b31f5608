"""Several labels an image as columns of evidence: what is not there is unknown."""

import numpy as np
import pyarrow as pa

from snellen.checks.label_sets import DECISIONS, LABELS, LOGITS, LabelSets, evidence_of_label
from snellen.core.evidence import Evidence


def column(values, kind):
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(values), kind), len(values[0]))


def test_an_image_without_its_columns_has_no_label_that_is_known():
    extra = {
        LABELS: column([[1, 0], [0, -1]], pa.int8()),
        DECISIONS: column([[1, 1], [0, 1]], pa.int8()),
        LOGITS: column([[2.0, 1.0], [-1.0, 3.0]], pa.float32()),
    }
    known = Evidence.of(["a", "b"], setting="fog.1", model="m", extra=extra)
    lost = Evidence.of(["c"], setting="fog.1", model="m", status="failed", reason="the scores are not finite")
    evidence = Evidence.merge([known, lost])
    sets = LabelSets.of(evidence.table)
    assert sets.labels.tolist() == [[1, 0], [0, -1], [-1, -1]]
    assert sets.decisions.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert sets.judged.tolist() == [True, True, False]
    assert sets.logits.shape == (3, 2)
    for place, labels, decisions in ((0, [1, 0, None], [1, 0, None]), (1, [0, None, None], [1, 1, None])):
        table = evidence_of_label(evidence, place).table
        assert table["label"].to_pylist() == labels
        assert table["prediction"].to_pylist() == decisions
