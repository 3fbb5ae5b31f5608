"""A folder of learned tokens and a slider in the forms of the release, of random weights."""

import copy

import torch

from snellen.models.diffusion.low_rank import SLIDER, chosen_layers


def token_folder(generator, folder, words, tokens):
    """As released: tokenizer, text encoder with a row for each token, and their list."""
    tower = generator.text.towers[0]
    tokenizer, network = copy.deepcopy(tower.tokenizer), copy.deepcopy(tower.network)
    tokenizer.add_tokens(tokens)
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for row, token in enumerate(tokens):
            drawn = torch.randn(network.config.hidden_size, generator=torch.Generator().manual_seed(row))
            network.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(token)] = drawn
    tokenizer.save_pretrained(folder / "tokenizer")
    network.save_pretrained(folder / "text_encoder", safe_serialization=True)
    torch.save({"initializer_words": list(words), "tokens": list(tokens)}, folder / "tokens.pt")
    return folder


def released_slider(generator, file, size=0.05):
    """A file of three tensors for each layer in bfloat16, and the factors that it holds."""
    layers = chosen_layers(generator.denoiser.network, SLIDER)
    stored, factors = {}, {}
    for number, (name, layer) in enumerate(layers.items()):
        draws = torch.Generator().manual_seed(number)
        taken, given = layer.weight.shape[1], layer.weight.shape[0]
        kernel = tuple(layer.weight.shape[2:])
        down = (size * torch.randn(4, taken, *kernel, generator=draws)).bfloat16()
        up = (size * torch.randn(given, 4, *(1 for _ in kernel), generator=draws)).bfloat16()
        prefix = f"lora_unet_{name.replace('.', '_')}"
        stored |= {
            f"{prefix}.lora_down.weight": down,
            f"{prefix}.lora_up.weight": up,
            f"{prefix}.alpha": torch.tensor(1.0),
        }
        factors[name] = (down.float(), up.float(), 1.0)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(stored, file)
    return file, factors
