"""A Wan 2.2 TI2V of random weights: the classes of the public one, with latents of 3 channels and 16 pixels a patch."""

from functools import cache
from pathlib import Path

import torch

from snellen.models.diffusion.smoke import t5_tokenizer
from snellen.models.random_folders import draw_weights
from snellen.models.weights.quiet_loading import quiet_loading

SIDE, FRAMES, CHANNELS = 32, 5, 4


@cache
def pipeline():
    import diffusers
    import transformers

    tokenizer = t5_tokenizer()
    with quiet_loading(), torch.random.fork_rng():
        torch.manual_seed(0)
        vae = diffusers.AutoencoderKLWan(
            base_dim=4, z_dim=CHANNELS, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
            latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[0.5, 1.5, 1.0, 0.8],
        )  # fmt: skip
        network = diffusers.WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=12, in_channels=CHANNELS, out_channels=CHANNELS, text_dim=16,
            freq_dim=16, ffn_dim=32, num_layers=2,
        )  # fmt: skip
        text = transformers.UMT5EncoderModel(
            transformers.UMT5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        )
        for part in (network, text):
            draw_weights(part)
        return diffusers.WanImageToVideoPipeline(
            tokenizer=tokenizer, text_encoder=text.eval(), vae=vae.eval(), transformer=network.eval(),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0), expand_timesteps=True,
        )  # fmt: skip


def write_wan(folder: Path) -> Path:
    with quiet_loading():
        pipeline().save_pretrained(folder)
    return folder
