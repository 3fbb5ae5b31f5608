"""CLAIM 2024: the 44 items of the checklist for studies of artificial intelligence in medical imaging.

Tejani et al., "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update", Radiology: Artificial
Intelligence 6(4), 2024. Topics are in our words.
"""

from __future__ import annotations

from snellen.auditing.forms import answers as by
from snellen.auditing.forms.form import Form, Item

FORM = Form(
    name="CLAIM 2024",
    citation="Tejani et al., Radiology: Artificial Intelligence 6(4), 2024, doi 10.1148/ryai.240300.",
    sections=(
        ("Title and abstract", (
            Item("1", "Title: an artificial intelligence study, and its technology", (by.model,), "the title"),
            Item("2", "Abstract", (by.performance,), "design, methods and conclusions"),
        )),
        ("Introduction", (
            Item("3", "Background, intended use and clinical role"),
            Item("4", "Aims and hypotheses"),
        )),
        ("Methods: design", (
            Item("5", "Prospective or retrospective"),
            Item("6", "Goal of the study"),
        )),
        ("Methods: data", (
            Item("7", "Sources of the data", (by.data,), "where and when the images were taken"),
            Item("8", "Who was included and excluded", (by.rejected,), "clinical criteria"),
            Item("9", "Preprocessing", (by.preprocessing,), "what was done before the images were stored"),
            Item("10", "Selection of parts of the data", (by.data,), "how images were chosen before the audit"),
            Item("11", "Removal of identities"),
            Item("12", "Missing data", (by.rejected,), "missing labels and clinical values"),
            Item("13", "How images were acquired", (by.quality,), "scanners and protocols"),
        )),
        ("Methods: reference standard", (
            Item("14", "How the reference standard was obtained"),
            Item("15", "Why this reference standard"),
            Item("16", "Who annotated", (), "qualification and number of annotators"),
            Item("17", "Annotation of the test set", (by.labels,), "how the test images were annotated"),
            Item("18", "Agreement between and within annotators"),
        )),
        ("Methods: partitions and size", (
            Item("19", "How data were divided", (by.leakage,), "how parts were drawn"),
            Item("20", "Level at which parts are disjoint", (by.leakage, by.copies), "patient, study or image"),
            Item("21", "Intended size of the test set", (by.data, by.power), "how the size was planned"),
        )),
        ("Methods: model and training", (
            Item("22", "Description of the model", (by.model, by.output), "layers and connections"),
            Item("23", "Software", (by.software,), "what the training ran with"),
            Item("24", "Initial parameters"),
            Item("25", "Training"),
            Item("26", "How the final model was chosen"),
            Item("27", "Ensembles, if any"),
        )),
        ("Methods: evaluation", (
            Item("28", "Measures of performance", (by.performance,), "why these measures"),
            Item("29", "Uncertainty and significance", (by.statistics,)),
            Item("30", "Robustness", (by.robustness, by.adversarial)),
            Item("31", "Explanation of decisions", (by.heat_maps, by.background)),
            Item("32", "Evaluation on internal data", (by.drift,), "whether the audited images are internal"),
            Item("33", "Evaluation on external data", (by.drift,), "whether the audited images are external"),
            Item("34", "Registration of a trial"),
        )),
        ("Results", (
            Item("35", "Images and patients included and excluded", (by.data, by.rejected), "flow of patients"),
            Item("36", "Characteristics of each part", (by.groups, by.drift), "demography and clinical findings"),
            Item("37", "Performance and its uncertainty", (by.performance, by.calibration, by.statistics)),
            Item("38", "Diagnostic accuracy and its precision", (by.discrimination, by.classes)),
            Item("39", "Failures", (by.findings, by.hidden_groups), "review of single cases"),
        )),
        ("Discussion", (
            Item("40", "Limits of the study", (by.power,), "other limits"),
            Item("41", "Meaning for practice"),
        )),
        ("Other", (
            Item("42", "Protocol and technical details", (by.software,), "a reference"),
            Item("43", "Availability of software, model and data", (), "where they can be had"),
            Item("44", "Funding"),
        )),
    ),
)  # fmt: skip
