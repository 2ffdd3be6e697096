"""A vocoder as a federation trains it: the generator is shared, the discriminators stay on the device.

A discriminator learns what real recordings look like, and those are its owner's; the generator meets them only
through it. As in federated GANs with local discriminators (Hardy 2019, MD-GAN, arXiv 1811.03850, has them on
the workers too).
"""

from __future__ import annotations

import torch
from torch import nn

from shared_models.config import Recipe, VocoderConfig
from shared_models.partition import Owner
from shared_models.seeds import derive_seed
from shared_models.vocoders.discriminators import build_discriminator
from shared_models.vocoders.from_recipe import generator_of


class Discriminators(nn.ModuleList):
    """A recipe's families of discriminators; none for a diffusion model. The device's alone.

    Their random weights depend on the recipe and ``seed`` alone.
    """

    belongs_to = Owner.PERSONAL

    def __init__(self, config: VocoderConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        widths = config.discriminator_widths or (1.0,) * len(config.families)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "discriminators"))
            # A diffusion model has no families, whatever widths the recipe gives.
            pairs = zip(config.families, widths, strict=False)
            super().__init__([build_discriminator(kind, width) for kind, width in pairs])

    def reset(self) -> None:
        """Put the weights back to those that the discriminators were made with."""
        self.load_state_dict(Discriminators(self.config, self.seed).state_dict())


class AdversarialVocoder(nn.Module):
    """What is partitioned; it owns no tensor itself."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.generator = generator_of(recipe.vocoder, recipe.seed)
        self.discriminators = Discriminators(recipe.vocoder, recipe.seed)
