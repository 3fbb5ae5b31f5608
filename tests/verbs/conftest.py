"""Files of every form that images come in, and audits of ill classifiers."""

import numpy as np
import pytest

import snellen
from snellen.auditing.report import AuditReport
from tests.verbs.ill_classifiers import blind_to, classifier_of, garments, overconfident
from tests.verbs.picture_sets import save


@pytest.fixture
def photos(tmp_path):
    """Colour, grey, 16 bits, 1×1, not square, alpha, palette: two classes."""
    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    save(root / "cat" / "colour.png", rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    save(root / "cat" / "grey.png", rng.integers(0, 256, (12, 12), dtype=np.uint8))
    save(root / "cat" / "sixteen.png", rng.integers(0, 65536, (12, 12), dtype=np.uint16))
    save(root / "cat" / "one.png", np.full((1, 1, 3), (200, 100, 50), dtype=np.uint8))
    save(root / "dog" / "wide.png", rng.integers(0, 256, (5, 17, 3), dtype=np.uint8))
    save(root / "dog" / "alpha.png", rng.integers(0, 256, (12, 12, 4), dtype=np.uint8))
    save(root / "dog" / "palette.png", rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), "P")
    save(root / "dog" / "cmyk.jpg", rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), "CMYK")
    return root


@pytest.fixture(scope="session")
def sure(tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    """An audit of a classifier that is much too sure."""
    folder = tmp_path_factory.mktemp("sure") / "run"
    return snellen.audit(
        classifier_of(overconfident()), garments()["audited"], checks=["clean", "calibration"], out=folder
    )


@pytest.fixture(scope="session")
def blind(tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    """An audit of a classifier that never decides for bags."""
    folder = tmp_path_factory.mktemp("blind") / "run"
    return snellen.audit(classifier_of(blind_to(8)), garments()["audited"], checks=["clean"], out=folder)
