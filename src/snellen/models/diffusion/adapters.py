"""Low-rank adapters of a network, with a strength for each row, that leave no trace when they are off.

The layers are those of the peft library, so files and arithmetic are its own. Two features are added. peft scales a
whole layer by one number; here the strength of an adapter may be a vector, one number for each row of a call. And an
adapter whose strengths are all zero is skipped, so that the network then is the un-adapted one, bit for bit and at no
cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError, UnsupportedError, import_extra, unknown_name
from snellen.core.layer_hooks import EditHook
from snellen.core.randomness import Randomness
from snellen.models.diffusion.low_rank import LowRank, chosen_layers, layer_generator, start_weights
from snellen.models.layers.layer_edits import scale
from snellen.models.weights.quiet_loading import quiet_loading

#: Names of adapters become parts of names of modules.
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Adapters:
    """The adapters of one network: a denoiser, a text encoder, a classifier, any module with Linear or Conv2d layers.

    An adapter acts only inside ``with adapters.on(...)``. Everywhere else the network is the un-adapted one. The layers
    are put into the network in place; :meth:`unload` takes them out again. Needs the extra ``diffusion``.

    >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> adapters = Adapters(network)
    >>> adapters.add("snow", LowRank(rank=2), rng=Randomness(0))
    >>> with adapters.training("snow") as parameters:
    ...     [tuple(parameter.shape) for parameter in parameters]
    [(2, 4), (8, 2), (2, 8), (2, 2)]
    >>> inputs = torch.ones(3, 4)
    >>> with adapters.on({"snow": torch.tensor([0.0, 0.5, 2.0])}):  # one strength for each row
    ...     scores = network(inputs)
    >>> adapters.unload()
    >>> adapters.names
    ()

    Where a network computes activations a second time in the backward pass (gradient checkpointing), the backward pass
    belongs inside the block too.

    Raises:
        InputError: a network that carries adapters already.
    """

    def __init__(self, network: nn.Module) -> None:
        carried: dict[str, Any] = getattr(network, "peft_config", {})
        if carried:
            raise InputError(
                f"the {type(network).__name__} carries adapters already ({', '.join(carried)}); take them out first "
                f"(unload_lora() in diffusers), and load their files here"
            )
        self.network = network
        self._entered: list[Mapping[str, float | Tensor]] = []  # what the open blocks ask for
        self._strengths: dict[str, float | Tensor] = {}
        self._layers: dict[str, Any] = {}
        self._mark: RemovableHandle | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters that were added, in this order."""
        return tuple(getattr(self.network, "peft_config", {}))

    def add(self, name: str, settings: LowRank, *, rng: Randomness) -> None:
        """Put a fresh adapter on the layers that the settings choose; it changes nothing until it is trained.

        Raises:
            InputError: a name that is taken or not made of letters, digits, - and _; settings that choose no layer; a
                rank that does not fit a grouped convolution.
            MissingExtraError: peft is not installed.
        """
        chosen = chosen_layers(self.network, settings)
        options = {"r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout}
        self.inject(name, list(chosen), options)
        with torch.no_grad():
            for layer in chosen:
                down = self._layers[layer].lora_A[name].weight
                down.copy_(start_weights(down.shape, settings, layer_generator(rng, name, layer)))

    def inject(self, name: str, layers: list[str], options: Mapping[str, Any]) -> None:
        """Put peft's layers on these layers, without choosing weights: what :meth:`add` and loading a file share.

        Args:
            name: of the adapter.
            layers: full names.
            options: what peft's ``LoraConfig`` takes, apart from the layers.

        Raises:
            InputError: a name that is taken or cannot be used, or what peft refuses.
        """
        if not _NAME.fullmatch(name):
            raise InputError(f"an adapter's name is made of letters, digits, - and _; got {name!r}")
        if name in self.names:
            raise InputError(f"there is an adapter {name!r} already; choose another name, or remove() it first")
        with quiet_loading():
            peft = import_extra("peft", "diffusion", "an adapter")
            required = [(parameter, parameter.requires_grad) for parameter in self.network.parameters()]
            wanted = "|".join(re.escape(layer) for layer in layers)
            config = peft.LoraConfig(target_modules=wanted, **options)
            try:
                peft.inject_adapter_in_model(config, self.network, adapter_name=name)
            except Exception as error:
                self._take_out(name, layers)
                raise InputError(f"peft cannot put the adapter {name!r} on these layers: {error}") from error
        for parameter, required_before in required:
            parameter.requires_grad_(required_before)
        modules = dict(self.network.named_modules())
        for layer in layers:
            self._layers[layer] = modules[layer]
            modules[layer].lora_B[name].register_forward_hook(self._row_scale(name))
        for parameter in self.parameters(name):
            parameter.requires_grad_(False)
        self._activate()

    def parameters(self, name: str) -> list[nn.Parameter]:
        """The parameters of one adapter: A and B of each layer, in the network's order."""
        self._known(name)
        parts = [part for layer in self._adapted(name).values() for part in (layer.lora_A[name], layer.lora_B[name])]
        return [parameter for part in parts for parameter in part.parameters()]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The weights of one adapter, named as peft names them: ``LAYER.lora_A.weight`` and ``LAYER.lora_B.weight``."""
        self._known(name)
        return {
            f"{layer}.{part}.weight": getattr(module, part)[name].weight.detach()
            for layer, module in self._adapted(name).items()
            for part in ("lora_A", "lora_B")
        }

    def identity(self, name: str) -> str:
        """Hash of the weights of one adapter (sha256)."""
        return hash_tensors(self.tensors(name))

    def config(self, name: str) -> Any:  # noqa: ANN401 - LoraConfig, of an extra
        """What peft knows of one adapter: its ``LoraConfig``."""
        self._known(name)
        return self.network.peft_config[name]  # type: ignore[index]

    @contextmanager
    def on(self, strengths: Mapping[str, float | Tensor]) -> Iterator[None]:
        """Let adapters act inside a ``with`` block, each with its strength: a number, or one for each row of a call.

        Blocks nest, and may end in any order: an adapter that is not named keeps the strength that it has outside.
        Strength 0, for all rows, switches an adapter off.

        Raises:
            UnknownNameError: no such adapter.
            InputError: strengths that are not a number or (rows,), or not finite; in a call: of another number of rows.
        """
        for name, strength in strengths.items():
            self._known(name)
            values = torch.as_tensor(strength, dtype=torch.float32)
            if values.ndim > 1 or not bool(values.isfinite().all()):
                raise InputError(f"the strength of {name!r} is a number or one for each row, finite; got {strength}")
        entered = dict(strengths)
        self._entered.append(entered)
        self._activate()
        try:
            yield
        finally:
            self._entered = [other for other in self._entered if other is not entered]
            self._activate()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Switch all adapters off inside a ``with`` block, in one that is on: the un-adapted network."""
        with self.on(dict.fromkeys(self.names, 0.0)):
            yield

    @contextmanager
    def training(self, name: str) -> Iterator[list[nn.Parameter]]:
        """Let only the parameters of one adapter require gradients inside a ``with`` block, and give them.

        The adapter does not act by itself: call the network inside :meth:`on`.
        """
        trained = self.parameters(name)
        required = [(parameter, parameter.requires_grad) for parameter in self.network.parameters()]
        self.network.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        try:
            yield trained
        finally:
            for parameter, required_before in required:
                parameter.requires_grad_(required_before)

    @contextmanager
    def merged(self, strengths: Mapping[str, float]) -> Iterator[None]:
        """Add adapters to the weights inside a ``with`` block: faster for many calls at one strength.

        The weights themselves are put back at the end, so nothing is rounded. The other adapters are off.

        Raises:
            UnknownNameError: no such adapter.
            UnsupportedError: an adapter on a grouped convolution.
        """
        for name in strengths:
            self._known(name)
        kept: list[tuple[nn.Parameter, Tensor]] = []
        try:
            with torch.no_grad():
                for layer, module in self._layers.items():
                    original = module.get_base_layer()
                    changes = [(name, s) for name, s in strengths.items() if name in module.lora_A and s != 0]
                    if changes and getattr(original, "groups", 1) > 1:
                        raise UnsupportedError(
                            f"layer {layer!r} is a grouped convolution, whose adapter cannot be merged"
                        )
                    if changes:
                        delta = sum(float(s) * module.get_delta_weight(name).float() for name, s in changes)
                        kept.append((original.weight, original.weight.data))
                        original.weight.data = (original.weight.float() + delta).to(original.weight.dtype)
            with self.off():
                yield
        finally:
            for weight, values in kept:
                weight.data = values

    def remove(self, name: str) -> None:
        """Take one adapter out of the network."""
        self._known(name)
        if name in self._strengths:
            raise InputError(f"the adapter {name!r} is in use: leave its block before it is removed")
        self._take_out(name, list(self._adapted(name)))

    def unload(self) -> None:
        """Take all adapters out; the network has its own layers again, with the weights and flags that they had."""
        for name in self.names:
            self.remove(name)

    def _take_out(self, name: str, layers: list[str]) -> None:
        for layer in layers:
            module: Any = self.network.get_submodule(layer)
            if name in getattr(module, "lora_A", ()):
                module.delete_adapter(name)
            if not len(getattr(module, "lora_A", "none")):
                parent, _, child = layer.rpartition(".")
                setattr(self.network.get_submodule(parent), child, module.get_base_layer())
                self._layers.pop(layer, None)
        configs: dict[str, Any] = getattr(self.network, "peft_config", {})
        configs.pop(name, None)
        if not configs and hasattr(self.network, "peft_config"):
            del self.network.peft_config

    def _adapted(self, name: str) -> dict[str, Any]:
        return {layer: module for layer, module in self._layers.items() if name in module.lora_A}

    def _known(self, name: str) -> None:
        if name not in self.names:
            raise unknown_name("adapter", name, self.names)

    def _activate(self) -> None:
        """Settle the strengths, and set in every layer which adapters have any effect: peft leaves out the others."""
        self._strengths = {name: strength for entered in self._entered for name, strength in entered.items()}
        acting = [name for name, strength in self._strengths.items() if bool(torch.as_tensor(strength).any())]
        for module in self._layers.values():
            # Not set_adapter(), which also decides what requires gradients.
            module._active_adapter = acting
        # An EditHook that changes nothing: a classifier around this network has no fingerprint while adapters act.
        if acting and self._mark is None:
            self._mark = self.network.register_forward_hook(EditHook(lambda _network, _inputs, _output: None))
        elif not acting and self._mark is not None:
            self._mark.remove()
            self._mark = None

    def _row_scale(self, name: str) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
        def scaled(_layer: nn.Module, _inputs: object, change: Tensor) -> Tensor | None:
            strength = self._strengths.get(name, 0.0)
            return None if isinstance(strength, float | int) and strength == 1 else scale(strength)(change)

        return scaled
