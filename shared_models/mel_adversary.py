"""A decoder's opponent: a discriminator of mels that learns beside it, in public training and in cloning.

Its gradient on the mel is scaled to a share of the L1 error's before it goes into the decoder, so that neither rules
the other however sure the discriminator is (as the adaptive weight of VQGAN, arXiv 2012.09841, eq. 7, at the mel).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shared_models.accelerator import Accelerator, seeded
from shared_models.acoustic.fastspeech2 import AcousticOutput
from shared_models.adversarial_config import AdversarialConfig
from shared_models.mel_discriminator import MelDiscriminator
from shared_models.optimization import load_moments, moments
from shared_models.seeds import derive_seed
from shared_models.tensor_file import under
from shared_models.vocoders.adversarial_losses import (
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from shared_models.vocoders.discriminators.judgement import Judgement

_WEIGHTS = "weights."
_MOMENTS = "moments."
_BETAS = (0.5, 0.9)
_CLIP = 5.0
_SMALLEST = 1e-12


class MelAdversary:
    """A discriminator with its optimizer, resumable."""

    def __init__(
        self, discriminator: MelDiscriminator, config: AdversarialConfig, accelerator: Accelerator
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.discriminator = discriminator.to(accelerator.device)
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), config.lr, betas=_BETAS)

    @classmethod
    def new(cls, config: AdversarialConfig, accelerator: Accelerator, seed: int) -> MelAdversary:
        """One that has learnt nothing yet."""
        with seeded(derive_seed(seed, "mel discriminator"), torch.device("cpu")):
            return cls(MelDiscriminator(config.channels), config, accelerator)

    def loss(self, output: AcousticOutput, *, pulls: bool = True) -> Tensor:
        """One step of the discriminator on a batch; what to add to the decoder's loss ``()``.

        Its value is 0, so that losses stay comparable; its gradient on ``output.mel`` has ``adversarial.weight`` times
        the norm of the L1 error's. Without ``pulls`` it learns, and adds nothing.
        """
        self._learn(output)
        if not pulls:
            return output.mel.new_zeros(())
        return ((output.mel - output.mel.detach()) * self._pull(output)).sum()

    def state(self) -> dict[str, Tensor]:
        """Weights and moments, for a checkpoint."""
        weights = {f"{_WEIGHTS}{name}": value for name, value in self.discriminator.state_dict().items()}
        return weights | {f"{_MOMENTS}{name}": value for name, value in moments(self.optimizer).items()}

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Put :meth:`state` back; nothing to put back leaves it at its start."""
        if saved:
            self.discriminator.load_state_dict(under(saved, _WEIGHTS))
            load_moments(self.optimizer, under(saved, _MOMENTS))

    def _judged(self, mel: Tensor, output: AcousticOutput) -> Judgement:
        with self.accelerator.autocast():
            judged: Judgement = self.discriminator(mel.float(), output.frame_mask)
        return judged

    def _learn(self, output: AcousticOutput) -> None:
        real = self._judged(output.mel_target, output)
        generated = self._judged(output.mel.detach(), output)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(discriminator_loss(real, generated, "lsgan"))
        torch.nn.utils.clip_grad_norm_(self.discriminator.parameters(), _CLIP)
        self.optimizer.step()

    def _pull(self, output: AcousticOutput) -> Tensor:
        mel = output.mel.detach().float().requires_grad_()
        generated = self._judged(mel, output)
        with torch.no_grad():
            real = self._judged(output.mel_target, output)
        loss = generator_loss(generated, "lsgan")
        loss = loss + self.config.feature_matching * feature_matching_loss(real, generated)
        (gradient,) = torch.autograd.grad(loss, mel)
        share: Tensor = l1_gradient_norm(output) / gradient.norm().clamp_min(_SMALLEST)
        return gradient * (self.config.weight * share)


def l1_gradient_norm(output: AcousticOutput) -> Tensor:
    """Norm ``()`` of the gradient of the mean L1 error on the mel: that of its signs over the frames of each."""
    batch, _, bands = output.mel.shape
    frames = output.frame_mask.sum(1).clamp_min(1)
    # Each of an utterance's numbers has 1 / (B W n_mels), and there are W n_mels of them.
    return (1 / (frames * bands)).sum().sqrt() / batch
