"""The one training loop, and what it is made of: plan, schedules, average, objectives, batches, checkpoints."""

from snellen.training.batches import Batch as Batch
from snellen.training.batches import Examples as Examples
from snellen.training.batches import ImageStore as ImageStore
from snellen.training.environment import record_environment as record_environment
from snellen.training.evaluation import accuracy as accuracy
from snellen.training.evaluation import score_examples as score_examples
from snellen.training.loop import Trained as Trained
from snellen.training.loop import train as train
from snellen.training.objectives import Objective as Objective
from snellen.training.objectives import classify as classify
from snellen.training.objectives import cross_entropy as cross_entropy
from snellen.training.objectives import on_scores as on_scores
from snellen.training.plan import TrainingPlan as TrainingPlan

__all__ = [
    "Batch",
    "Examples",
    "ImageStore",
    "Objective",
    "Trained",
    "TrainingPlan",
    "accuracy",
    "classify",
    "cross_entropy",
    "on_scores",
    "record_environment",
    "score_examples",
    "train",
]
