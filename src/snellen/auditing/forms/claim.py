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
            Item("1", "Title, which names the technology"),
            Item("2", "Abstract", (by.performance,), "design, methods and conclusions"),
        )),
        ("Introduction", (
            Item("3", "Background, intended use and clinical role"),
            Item("4", "Aims and hypotheses"),
        )),
        ("Methods: design", (
            Item("5", "Whether data were gathered for this study or before it"),
            Item("6", "Goal of the study"),
        )),
        ("Methods: data", (
            Item("7", "Sources of the data", (by.data,), "where and when the images were taken"),
            Item("8", "Who was included and excluded", (by.rejected,), "clinical criteria"),
            Item("9", "Preprocessing", (by.preprocessing,), "what was done before the images were stored"),
            Item("10", "Selection of parts of the data", (by.data,), "how images were chosen before the audit"),
            Item("11", "Removal of identities"),
            Item("12", "Missing data", (by.rejected,), "missing labels and clinical values"),
            Item("13", "How images were taken", (), "scanners and protocols"),
        )),
        ("Methods: reference standard", (
            Item("14", "How the reference standard was obtained"),
            Item("15", "Why this reference standard"),
            Item("16", "Who annotated", (), "qualification and number of annotators"),
            Item("17", "Labels of the test set", (), "who gave them, and how"),
            Item("18", "Agreement between and within annotators"),
        )),
        ("Methods: partitions and size", (
            Item("19", "How data were divided", (), "how parts were drawn"),
            Item("20", "What parts do not share", (by.leakage,), "patient, study or image"),
            Item("21", "Intended size of the test set", (by.data, by.power), "how the size was planned"),
        )),
        ("Methods: model and training", (
            Item("22", "Description of the model", (by.model, by.output), "layers and connections"),
            Item("23", "Software", (by.software,), "what the training ran with"),
            Item("24", "Initial parameters"),
            Item("25", "Training"),
            Item("26", "How the final model was chosen"),
            Item("27", "Whether several models decide together"),
        )),
        ("Methods: evaluation", (
            Item("28", "Measures of performance", (by.performance,), "why these measures"),
            Item("29", "Uncertainty and significance", (by.statistics,)),
            Item("30", "Robustness", (by.robustness, by.adversarial)),
            Item("31", "Explanation of decisions", (by.heat_maps, by.background)),
            Item("32", "Evaluation on data of the same source", (), "whether the audited images are such; see 37"),
            Item("33", "Evaluation on data of other sources", (), "whether the audited images are such; see 37"),
            Item("34", "Registration of a trial"),
        )),
        ("Results", (
            Item("35", "Images and patients included and excluded", (by.data, by.rejected), "flow of patients"),
            Item("36", "Who is in each part", (), "demography and clinical findings"),
            Item("37", "Performance and its uncertainty",
                 (by.performance, by.calibration, by.groups, by.statistics)),
            Item("38", "Diagnostic accuracy and its precision", (by.discrimination, by.classes)),
            Item("39", "Failures", (by.findings,), "review of single cases"),
        )),
        ("Discussion", (
            Item("40", "Limits of the study", (by.power, by.not_run, by.labels), "other limits"),
            Item("41", "Meaning for practice"),
        )),
        ("Other", (
            Item("42", "Protocol and technical details", (), "where they can be read"),
            Item("43", "Availability of software, model and data", (), "where they can be had"),
            Item("44", "Funding"),
        )),
    ),
)  # fmt: skip
