"""A few moving shapes, and numbers under which a model is trained in a moment."""

from functools import cache

from snellen.data.worlds.moving_shapes import MovingShapes
from snellen.systems.text_image_to_video.architecture import VideoArchitecture
from snellen.systems.text_image_to_video.fitting import VideoTraining
from snellen.systems.text_image_to_video.trained_folder import train_video_model
from snellen.systems.text_image_to_video.videos import Videos, read_videos

FRAMES = 4

NETWORK = VideoArchitecture(frames=FRAMES, width=16, heads=2, blocks=1, text_blocks=1)

TRAINING = VideoTraining(image_steps=2, text_steps=2, joint_steps=3, unmasked_steps=2, batch_size=4, mask_ratio=0.5)


def videos(count: int = 8, split: str = "train") -> Videos:
    return read_videos(MovingShapes(count=count, frames=FRAMES).images(split=split), frames=FRAMES, side=16)


@cache
def model():
    return train_video_model(videos(), network=NETWORK, training=TRAINING)
