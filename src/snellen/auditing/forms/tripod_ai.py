"""TRIPOD+AI: the 27 items, with their parts, of the statement on studies of prediction models.

Collins et al., "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use regression or
machine learning methods", BMJ 385, 2024. Topics are in our words.
"""

from __future__ import annotations

from snellen.auditing.forms import answers as by
from snellen.auditing.forms.form import Form, Item

FORM = Form(
    name="TRIPOD+AI",
    citation="Collins et al., BMJ 385, 2024, doi 10.1136/bmj-2023-078378.",
    sections=(
        ("Title and abstract", (
            Item("1", "Title", (), "the title, population and outcome"),
            Item("2", "Abstract", (by.performance,), "the other parts of the abstract"),
        )),
        ("Introduction", (
            Item("3a", "Clinical context and reason for the model"),
            Item("3b", "Target population, place in care, and users"),
            Item("3c", "Known inequalities of health"),
            Item("4", "Objectives: development, evaluation, or both"),
        )),
        ("Methods", (
            Item("5a", "Sources of the data", (by.data,), "origin, and how representative it is"),
            Item("5b", "Dates"),
            Item("6a", "Setting, number and place of centres"),
            Item("6b", "Eligibility", (by.rejected,), "clinical criteria"),
            Item("6c", "Treatments received"),
            Item("7", "Preparation and checks of the data", (by.preprocessing, by.quality, by.copies),
                 "what was done before the audit"),
            Item("8a", "Definition of the outcome", (), "what the classes mean, and when they were assessed"),
            Item("8b", "Who judged an outcome that takes judgement"),
            Item("8c", "Blinding of the outcome"),
            Item("9a", "Choice of predictors", (), "why images, and which"),
            Item("9b", "Definition of predictors", (), "how and when images were taken"),
            Item("9c", "Who judged predictors that take judgement"),
            Item("10", "Sample size", (by.data, by.power), "how the size was planned"),
            Item("11", "Missing data", (by.rejected,), "missing labels and clinical values"),
            Item("12a", "How data were used and divided", (by.leakage,), "how parts were drawn"),
            Item("12b", "Form of predictors", (by.preprocessing,)),
            Item("12c", "Type of model and how it was built", (by.model,), "architecture, training and choices"),
            Item("12d", "Differences between clusters", (), "how hospitals or countries were handled"),
            Item("12e", "Measures and plots of performance", (by.performance, by.statistics), "why these measures"),
            Item("12f", "Updating of the model"),
            Item("12g", "How predictions were computed", (by.output, by.software)),
            Item("13", "Class imbalance", (), "what was done about it in the training"),
            Item("14", "Fairness", (by.groups,), "what was done about it in the training"),
            Item("15", "Output of the model and its thresholds", (by.output,), "why these thresholds"),
            Item("16", "Differences of training and evaluation data", (by.drift,), "setting, eligibility, outcome"),
            Item("17", "Ethical approval"),
        )),
        ("Open science", (
            Item("18a", "Funding"),
            Item("18b", "Conflicts of interest"),
            Item("18c", "Protocol"),
            Item("18d", "Registration"),
            Item("18e", "Availability of the data"),
            Item("18f", "Availability of the code"),
            Item("19", "Involvement of patients and the public"),
        )),
        ("Results", (
            Item("20a", "Flow of participants", (by.data, by.rejected), "follow-up"),
            Item("20b", "Characteristics of participants", (), "demography, predictors and outcomes"),
            Item("20c", "Comparison with the development data", (by.drift,)),
            Item("21", "Numbers of participants and events in each analysis", (by.data,), "events of each class"),
            Item("22", "The full model", (by.model,), "how others can use it"),
            Item("23a", "Performance with intervals, also in subgroups",
                 (by.performance, by.discrimination, by.calibration, by.classes, by.groups)),
            Item("23b", "Differences of performance between clusters", (by.groups,), "which groups are clusters"),
            Item("24", "Results of updating"),
        )),
        ("Discussion", (
            Item("25", "Interpretation, and fairness", (by.findings,), "meaning in view of earlier studies"),
            Item("26", "Limits", (by.power, by.not_run, by.labels), "other limits"),
            Item("27a", "Poor or missing input", (by.quality, by.robustness), "what users should do then"),
            Item("27b", "What users must do and know"),
            Item("27c", "Next steps, and use elsewhere"),
        )),
    ),
)  # fmt: skip
