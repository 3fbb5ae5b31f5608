"""What every way begins from: a small network that has been taught to repeat an encoder of ImageNet, without labels.

The paper begins from weights of ImageNet. A network that trains in minutes on one core has none, so it learns to give
the vectors that a larger one gives of the training instances (Hinton et al. 2015, arXiv 1503.02531, of vectors).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.head_on_encoder import Standardise, encoder_at
from snellen.reproduction.multiple_instance.tile_network import WIDTHS, TileNetwork
from snellen.reproduction.multiple_instance.view_bank import ViewBank
from snellen.systems.multiple_instance.image_instances import ImageEncoder
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: The encoder that is repeated, which of its layers, and the height and width at which it sees images.
ENCODER, LAYER, SIDE_OF_ENCODER = "bundled:efficientnet-lite0", "blocks.4", 64

#: Of each image and one of its views; as long as the minutes of a seed allow.
PLAN = TrainingPlan(
    epochs=10, batch_size=64, optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, schedule="cosine", clip_norm=1.0
)

#: Images that are encoded together.
_AT_ONCE = 256


def taught_network(bank: ViewBank, shown: int, side: int, seed: int, progress: Progress) -> TileNetwork:
    """A network whose vectors, through one linear layer, come close to those of the encoder.

    Args:
        bank: of the images; the first of them are learnt from, each as it is and in its first ``weak`` view.
        shown: how many.
        side: height and width of the images, pixels.
        seed: of initial weights and order.
        progress: callback that receives progress updates.

    Raises:
        MissingExtraError: the extra snellen[imagenet] is needed.
    """
    rows = torch.cat([bank.pixels[:shown], bank.drawn["weak"][:, 0]])
    vectors = _encoded(rows, side, encoder_at(ENCODER, layer=LAYER, side=SIDE_OF_ENCODER), progress)
    standardise = Standardise(vectors.shape[1])
    standardise.fit(vectors)
    with seeded(seed, torch.device("cpu")):
        network = TileNetwork()
        model = nn.Sequential(ImageEncoder(network, side), nn.Linear(WIDTHS[-1], vectors.shape[1]))
    examples = ImageStore.of_tensors(rows, standardise(vectors))
    plan = PLAN.model_copy(update={"seed": seed % 2**31})
    trained = train(model, examples, plan=plan, objective=_distances, progress=progress)
    model.load_state_dict(dict(trained.weights))
    return network


def _distances(model: nn.Module, batch: Batch) -> Tensor:
    """Mean square of the differences of each vector, (n,)."""
    return F.mse_loss(model(batch.images), batch.targets, reduction="none").mean(1)


def _encoded(rows: Tensor, side: int, encoder: FrozenEncoder, progress: Progress) -> Tensor:
    progress.begin("encode instances", len(rows))
    found = []
    for part in rows.split(_AT_ONCE):
        images = to_unit(part).reshape(-1, 3, side, side)
        size = encoder.preparation.size
        found.append(encoder.encode(F.interpolate(images, size, mode="bilinear", antialias=True).clamp(0, 1)))
        progress.advance("encode instances", len(part))
    progress.finish("encode instances")
    return torch.cat(found)
