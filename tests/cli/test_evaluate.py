"""``snellen evaluate`` as a user meets it."""

import pytest


def test_a_table_of_two_models(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    models = ("bundled:fashion-cnn", "bundled:fashion-cnn")
    code, out, err = run(
        "evaluate", *models, "--data", "bundled:fashion-mnist", "--attack", "fgsm:epsilon=0.1",
        "--attack", "fgsm", "--limit", 6, "--out", "table",
    )  # fmt: skip
    assert code == 0, err
    assert "bundled:fashion-cnn (2)" in out
    assert "+0.0 [" in out
    code, again, _ = run(
        "evaluate", *models, "--data", "bundled:fashion-mnist", "--attack", "fgsm:epsilon=0.1",
        "--attack", "fgsm", "--limit", 6, "--out", "table", "--format", "latex",
    )  # fmt: skip
    assert code == 0
    assert again.startswith("% Accuracy in percent")
    assert "\\begin{tabular}{lrrrr}" in again


@pytest.mark.parametrize("attack", ["fgsm:epsilon", "fgsm:=1", "fgsm:epsilon=1,epsilon=2"])
def test_an_attack_that_cannot_be_read(run, attack):
    code, _, err = run("evaluate", "bundled:fashion-cnn", "--data", "bundled:fashion-mnist", "--attack", attack)
    assert code == 2
    assert "expected NAME:FIELD=VALUE,FIELD=VALUE" in err
