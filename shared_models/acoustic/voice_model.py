"""The whole voice model: the acoustic model, what makes a voice of what is heard, and the voices.

Sources hear a speaker or look one up, and add up to one embedding; the conditioning's maps make of it what the
acoustic model's sites take; a voice's own offsets are added. Which of all this is one speaker's own, the adaptation
says. This is what is partitioned. It owns no tensor itself: each part says whom its own belong to.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor, nn

from shared_models.acoustic.aligner import Aligner, AlignmentOutput
from shared_models.acoustic.dimensions import Dimensions
from shared_models.acoustic.fastspeech2 import AcousticModel, AcousticOutput
from shared_models.config import AlignerConfig, SpeakerConfig
from shared_models.errors import RecipeError
from shared_models.features import Batch
from shared_models.kinds import class_at
from shared_models.partition import PartitionedModel
from shared_models.speakers.adaptation.together import Together
from shared_models.speakers.classifier import SpeakerClassifier
from shared_models.speakers.conditioning import CONDITIONINGS
from shared_models.speakers.conditioning.conditioning import Conditioning, Maps
from shared_models.speakers.content import PHONEMES, ContentAdversary
from shared_models.speakers.heard import MEL, Heard
from shared_models.speakers.learned_rates import LearnedRates
from shared_models.speakers.projection import Projection
from shared_models.speakers.shared_style import add_shared_style
from shared_models.speakers.sources import SOURCES
from shared_models.speakers.sources.source import Contribution, Source
from shared_models.speakers.voice import Voice, VoiceTensor, require_fit
from shared_models.speakers.voices import Voices


class VoiceModel(nn.Module):
    """FastSpeech 2 that speaks as ``voices`` different speakers, and as anyone with a reference recording."""

    def __init__(
        self,
        dimensions: Dimensions,
        speaker: SpeakerConfig,
        aligner: AlignerConfig,
        voices: int = 1,
        style_rank: int = 0,
    ) -> None:
        super().__init__()
        d = dimensions
        self.dimensions = d
        self.always_align = aligner.learn == "always"
        self.kinds_of_sources = speaker.sources
        self._name_of_maps = f"{speaker.conditioning}_maps"
        kinds = [class_at(SOURCES[kind]) for kind in speaker.sources]
        conditioning: Conditioning = class_at(CONDITIONINGS[speaker.conditioning])(
            d, sum(kind.tokens for kind in kinds), speaker
        )
        adaptation = Together(speaker)
        # In the order of the flat vector, which is also that of the random draws.
        self.acoustic = AcousticModel(d, conditioning)
        of_every_adaptation = self.acoustic.takes
        self.acoustic.takes += tuple(adaptation.adds(self.acoustic))
        self.add_module(self._name_of_maps, conditioning.maps())
        for name, kind in zip(speaker.sources, kinds, strict=True):
            self.add_module(name, _source(kind, d, speaker))
        if speaker.projection == "mlp":
            for name in speaker.sources:
                self.add_module(f"{name}_projection", Projection(d.embedding))
        self._projects = speaker.projection == "mlp"
        self.aligner = Aligner(d.vocabulary, d.n_mels, d.hidden) if aligner.learn != "never" else None
        self.own_maps: nn.Module | None = None
        kept = [one for source in self.sources.values() for one in source.keeps()]
        offsets = _beside(kept, adaptation.offsets(self.takes))
        self._offsets = {offset.name for offset in offsets}
        self.voices = Voices(voices, [*kept, *offsets])
        self.classification_weight = speaker.classification_weight
        classifies = speaker.classification_weight > 0 and voices > 1
        self.classifier = SpeakerClassifier(d.embedding, voices) if classifies else None
        self.content_confusion = speaker.content_confusion
        confuses = speaker.content_confusion > 0 and voices > 1
        self.content = ContentAdversary(d.embedding, d.vocabulary) if confuses else None
        if style_rank:
            add_shared_style(self.acoustic, style_rank)
        adaptation.install(self)
        rates = speaker.learned_rates
        self.learned_rates = LearnedRates([*of_every_adaptation, *kept], rates) if rates is not None else None

    @property
    def takes(self) -> tuple[VoiceTensor, ...]:
        """The tensors of a voice of this model."""
        return self.acoustic.takes

    @property
    def maps(self) -> nn.Module:
        """The conditioning's maps."""
        return self.get_submodule(self._name_of_maps)

    @property
    def sources(self) -> dict[str, Source]:
        """The sources of the speaker embedding by kind, in the recipe's order."""
        return {kind: cast(Source, self.get_submodule(kind)) for kind in self.kinds_of_sources}

    def forward(
        self, batch: Batch, *, window: int | None = None, generator: torch.Generator | None = None
    ) -> AcousticOutput:
        """Teacher forcing on ``batch``; :func:`shared_models.losses.acoustic_loss` judges the result.

        Durations are an utterance's own, or the aligner's where it brings none (or always, if the recipe says
        so). ``window``: of each utterance, and of each reference, only a random run of at most so many frames
        is used; ``generator`` draws where they start. Raises :class:`RecipeError` if nothing gives durations.
        """
        durations, alignment = self.durations(batch)
        heard = batch.heard
        if window is not None and heard.signals and any(s.hears for s in self.sources.values()):
            heard = heard.excerpt(window, generator)
        voice, penalty = self._voice(heard)
        output: AcousticOutput = self.acoustic(
            batch, durations, voice, alignment=alignment, window=window, generator=generator
        )
        return output if penalty is None else replace(output, penalty=penalty)

    def durations(self, batch: Batch) -> tuple[Tensor, AlignmentOutput | None]:
        """The durations ``(B, L)`` int64 that ``batch`` is trained with, and the aligner's output if it ran.

        An utterance that brings its own durations is not aligned: its aligner's losses are 0. Raises
        :class:`RecipeError` if nothing gives an utterance durations.
        """
        if batch.durations is None or self.always_align:
            alignment = self.align(batch)
            return alignment.durations, alignment
        if all(batch.aligned):
            return batch.durations, None
        aligned = torch.tensor(batch.aligned, device=batch.durations.device)
        alignment = self.align(batch).only(~aligned)
        return torch.where(aligned[:, None], batch.durations, alignment.durations), alignment

    def align(self, batch: Batch) -> AlignmentOutput:
        """The aligner alone: its alignment and losses, without encoder or decoder (warm-up rounds)."""
        if self.aligner is None:
            raise RecipeError(
                "these recordings come without alignments and the recipe has aligner.learn = 'never': "
                "set it to 'auto', or bring alignments"
            )
        alignment: AlignmentOutput = self.aligner(batch)
        return alignment

    def voice(self, heard: Heard) -> Voice:
        """The voice of each row of ``heard``: B voices from B references.

        Raises :class:`RecipeError` if a source hears a signal that the references lack.
        """
        return self._voice(heard)[0]

    def embedding(self, heard: Heard) -> Tensor:
        """``(B, E)``: what the sources say of each row of ``heard``, added up."""
        heard = self._looked_up(heard)
        return self._total(self._said(heard), heard.rows).embedding

    def voice_of_speaker(self, heard: Heard) -> Voice:
        """One voice from several references of one speaker; each source says how it pools them."""
        heard = self._looked_up(heard)
        said = [
            self._projected(kind, source.pool(self._asked(kind, source, heard)))
            for kind, source in self.sources.items()
        ]
        own = {name: kept[:1] for name, kept in heard.own.items()}
        return self._made(self._total(said, heard.rows[:1]), own)

    def heard_embedding(self, heard: Heard) -> Tensor:
        """``(B, E)``: what the sources that hear say of each row together."""
        heard = self._looked_up(heard)
        said = [
            self._projected(kind, self._asked(kind, s, heard)) for kind, s in self.sources.items() if s.hears
        ]
        return self._total(said, heard.rows).embedding

    def _voice(self, heard: Heard) -> tuple[Voice, Tensor | None]:
        """The voices, and the sources' penalty ``(B,)`` if there is one."""
        heard = self._looked_up(heard)
        said = self._said(heard)
        if self.classifier is not None and not heard.nobody:
            said.append(self._classified(said, heard))
        if self.content is not None and PHONEMES in heard.signals:
            said.append(self._read(said, heard))
        total = self._total(said, heard.rows)
        return self._made(total, heard.own), total.penalty

    def _said(self, heard: Heard) -> list[Contribution]:
        return [
            self._projected(kind, self._asked(kind, source, heard)) for kind, source in self.sources.items()
        ]

    def _classified(self, said: Sequence[Contribution], heard: Heard) -> Contribution:
        """Nothing but the penalty for not telling the speakers apart by what is heard alone."""
        assert self.classifier is not None
        embedding = self._of_hearing(said, heard)
        there = heard.signals[MEL].lengths > 0
        lost = self.classifier(embedding, heard.rows, there)
        return Contribution(torch.zeros_like(embedding), penalty=self.classification_weight * lost)

    def _read(self, said: Sequence[Contribution], heard: Heard) -> Contribution:
        """Nothing but the adversary's penalty for misreading what is said, and the sources' for being read."""
        assert self.content is not None
        embedding, phonemes = self._of_hearing(said, heard), heard.signals[PHONEMES].values[:, :, 0].long()
        lost = self.content(embedding, phonemes)
        return Contribution(torch.zeros_like(embedding), penalty=self.content_confusion * lost)

    def _of_hearing(self, said: Sequence[Contribution], heard: Heard) -> Tensor:
        """``(B, E)``: what the sources that hear say together. ``said`` may go on with what is no source's."""
        hearing = [part for part, source in zip(said, self.sources.values(), strict=False) if source.hears]
        return self._total(hearing, heard.rows).embedding

    def _looked_up(self, heard: Heard) -> Heard:
        return replace(heard, own=self.voices(heard.rows))

    def _asked(self, kind: str, source: Source, heard: Heard) -> Contribution:
        if heard.nobody and source.alone:
            return source(heard)
        if source.hears and heard.nobody:
            return self._nothing(heard.rows, source.tokens)
        if missing := [name for name in source.hears if name not in heard.signals]:
            raise RecipeError(
                f"speaker.sources has '{kind}', which hears '{missing[0]}', and these recordings come without it: add "
                f"'{missing[0]}' to features.signals"
            )
        return source(heard)

    def _projected(self, kind: str, said: Contribution) -> Contribution:
        if not self._projects:
            return said
        return replace(said, embedding=self.get_submodule(f"{kind}_projection")(said.embedding))

    def _total(self, said: Sequence[Contribution], rows: Tensor) -> Contribution:
        return Contribution.total(said) if said else self._nothing(rows, 0)

    def _nothing(self, rows: Tensor, tokens: int) -> Contribution:
        """What is said of somebody of whom nothing is heard."""
        zeros = self.acoustic.mel.weight.new_zeros(len(rows), self.dimensions.embedding)
        return Contribution(zeros, zeros[:, None].expand(-1, tokens, -1) if tokens else None)

    def _made(self, said: Contribution, own: Mapping[str, Tensor]) -> Voice:
        """Voices of what the sources say of them and what they keep of their own."""
        made: dict[str, Tensor] = {"embedding": said.embedding, **self.maps(said.embedding, said.tokens)}
        if self.own_maps is not None:
            for name, change in self.own_maps(said.embedding, said.tokens).items():
                made[name] = made[name] + change
        if said.tokens is not None:
            made["tokens"] = said.tokens
        tensors = {}
        for declared in self.takes:
            parts = [made[declared.name]] if declared.name in made else []
            if declared.name in self._offsets:
                parts.append(own[declared.name])
            tensors[declared.name] = (
                reduce(torch.add, parts) if parts else _newcomers(declared, said.embedding)
            )
        return Voice(tensors)

    def at_sites(self, sites: Sequence[int]) -> dict[str, Tensor]:
        """Of maps, rates and voices, the tensors by name of a model with the conditional norms ``sites`` alone."""
        found: dict[str, Tensor] = {}
        for place in (self._name_of_maps, "own_maps.maps"):
            if self.own_maps is not None or place == self._name_of_maps:
                maps = cast(Maps, self.get_submodule(place))
                found |= {f"{place}.{name}": t for name, t in maps.at_sites(sites).items()}
        if self.learned_rates is not None:
            rates = self.learned_rates.at_sites(sites)
            found |= {f"learned_rates.{name}": tensor for name, tensor in rates.items()}
        return found | {f"voices.{name}": t for name, t in self.voices.at_sites(sites).items()}

    def synthesize(
        self,
        phonemes: Tensor,
        lengths: Tensor,
        voice: Voice,
        *,
        duration_scale: float = 1.0,
        pitch_shift: float = 0.0,
        energy_scale: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Speak ``phonemes (B, L)``: mel ``(B, T, n_mels)`` and lengths ``(B,)``; see :class:`AcousticModel`.

        A voice of one row speaks all of them. Raises :class:`CheckpointError` for a voice that is not this model's.
        """
        require_fit(voice, self.takes)
        return self.acoustic.synthesize(
            phonemes,
            lengths,
            voice.expand(len(phonemes)),
            duration_scale=duration_scale,
            pitch_shift=pitch_shift,
            energy_scale=energy_scale,
        )


def _beside(kept: Sequence[VoiceTensor], offsets: Sequence[VoiceTensor]) -> list[VoiceTensor]:
    """The offsets but for those of the sources' that a source keeps itself, as the table keeps the embedding."""
    names = {one.name for one in kept}
    return [one for one in offsets if one.made_by != "sources" or one.name not in names]


def _source(kind: Any, dimensions: Dimensions, speaker: SpeakerConfig) -> nn.Module:
    """A source, which is told the recipe's ``[speaker]`` if its constructor takes that."""
    takes = "speaker" in inspect.signature(kind.__init__).parameters
    made: nn.Module = kind(dimensions, speaker) if takes else kind(dimensions)
    return made


def _newcomers(declared: VoiceTensor, like: Tensor) -> Tensor:
    """What B newcomers have of a tensor that nothing makes, ``(B, ...)`` for ``like (B, E)``."""
    return declared.started().to(like).expand(len(like), *declared.shape)


VoicePartition = PartitionedModel[VoiceModel]
"""A voice model, partitioned."""
