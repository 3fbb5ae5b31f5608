"""Findings that no treatment of a classifier mends, and what to do about them instead: one sentence each."""

from __future__ import annotations

#: Kind of finding → why there is no treatment, and what helps.
UNTREATED: dict[str, str] = {
    "class_order": "nothing is wrong with the weights: name the classes in the order of the outputs (--classes FILE)",
    "in_sample": "the figures are of images that the classifier knows: audit it on others",
    "gradient_masking": "it is no weakness by itself: the honest accuracy is that of the attacks without gradients, and "
    "an adversarial fine-tuning treats the finding 'adversarial'",
    "multi_label": "an image of several classes needs several labels: snellen train label-maps",
    "coverage": "images that are missing must be collected or generated",
    "data_quality": "files must be repaired or left out: lists/data_quality.json names them",
    "unsafe_content": "a person must look at the images",
    "generated_content": "a person must look at the images",
    "manipulated_region": "a person must look at the images",
    "generator_failure": "it is one of a generator and not of the classifier",
    "memorisation": "it is one of a generator and not of the classifier",
    "unforgotten": "train again without the examples that should be forgotten",
    "temporal": "frames must be decided together, which a classifier of single images does not do",
    "texture_seam": "it is one of the images and not of the classifier",
    "bag_accuracy": "bags are decided from their images: train with labels of bags (snellen train attention-mil)",
    "missed_bags": "choose the threshold on tuning bags: --set bags.threshold=VALUE",
    "bag_false_alarms": "choose the threshold on tuning bags: --set bags.threshold=VALUE",
    "bag_group_gap": "choose the threshold on tuning bags of every group: --set bags.threshold=VALUE",
    "bag_evidence": "look at the images that lists/bags.json names: labels of images or bags contradict the model",
    "bag_contradiction": "correct the labels that lists/bags.json names",
}
