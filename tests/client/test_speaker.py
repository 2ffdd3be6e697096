"""The door from a voice to sound: it is heard as it is made, and nothing leaves it without the mark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_federation import shaken, tiny_model, tiny_recipe
from torch import Tensor

from client import speaker as door
from client.cloning import voice_of_nobody
from client.profile import VoiceProfile, save_profile
from client.speaker import Speaker
from shared_models.audio.mel import HOP, SAMPLE_RATE
from shared_models.audio.postfilter import sharpen
from shared_models.audio.reading import read_audio
from shared_models.base_model import packaged_base
from shared_models.errors import AudioError, CheckpointError, TextError, WatermarkError
from shared_models.text import english
from shared_models.text.phonemes import encode, phonemize
from shared_models.text.pieces import SENTENCE_PAUSE
from shared_models.watermark import perth
from shared_models.watermark.perth import THRESHOLD, load_watermark

REPOSITORY = Path(__file__).parents[2]


class Ramp:
    """A vocoder that says which frame a sample came from, and keeps what it was given."""

    def __init__(self) -> None:
        self.mels: list[Tensor] = []

    def __call__(self, mel: Tensor) -> Tensor:
        self.mels.append(mel)
        return torch.arange(1, mel.shape[-2] * HOP + 1) / 1e6


def tiny_speaker() -> Speaker:
    model = shaken(tiny_model(tiny_recipe(aligner__learn="never")))
    return Speaker(model.model, voice_of_nobody(model), Ramp())


@settings(max_examples=5)
@given(st.integers(1, 4))
def test_pieces_add_up_to_the_whole(count: int) -> None:
    speaker = tiny_speaker()
    text = " ".join(["Good morning to you."] * count) + " ..."
    spoken = list(speaker.stream(text))
    told: list[tuple[int, int]] = []
    whole = speaker.say(text, on_piece=lambda *now: told.append(now))
    assert np.array_equal(whole, np.concatenate([piece.wave for piece in spoken]))
    assert told == [(number, count) for number in range(1, count + 1)]
    pause = int(SENTENCE_PAUSE * SAMPLE_RATE)
    for piece in spoken[:-1]:
        assert not piece.wave[-pause:].any()
    assert spoken[-1].wave[-pause:].any()


def test_the_vocoder_is_given_the_sharpened_mel_and_what_leaves_differs_from_it_by_the_mark_alone() -> None:
    speaker = tiny_speaker()
    phonemes = encode(phonemize("Good morning."))
    with torch.no_grad():
        mel, _ = speaker.model.synthesize(phonemes[None], torch.tensor([len(phonemes)]), speaker.voice)
    sound = speaker.unmarked(phonemes)
    np.testing.assert_array_equal(sound.mel.numpy(), sharpen(mel[0].numpy()))
    assert torch.equal(speaker.vocoder.mels[-1], sound.mel)  # type: ignore[attr-defined]
    marked = load_watermark().mark(sound.wave, SAMPLE_RATE)
    assert np.array_equal(speaker.say("Good morning."), marked)
    assert not np.array_equal(marked, sound.wave)


def test_a_packaged_voice_is_marked_whole_and_in_every_piece_and_in_files(tmp_path: Path) -> None:
    speaker, watermark = Speaker.packaged(), load_watermark()
    pieces = list(
        speaker.stream("The wind was cold that morning. We took the long way home through the fields.")
    )
    assert len(pieces) == 2
    assert all(watermark.score(piece.wave, SAMPLE_RATE) > THRESHOLD for piece in pieces)
    for suffix in (".ogg", ".mp3", ".opus", ".aiff"):
        speaker.write("The wind was cold that morning.", tmp_path / f"said{suffix}")
        assert watermark.score(*read_audio(tmp_path / f"said{suffix}")) > THRESHOLD, suffix
    said = speaker.unmarked(encode(phonemize("The wind was cold that morning.")))
    assert watermark.score(said.wave, SAMPLE_RATE) < THRESHOLD


def test_nothing_is_spoken_where_nothing_can_be_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = tiny_speaker()
    perth.load_watermark.cache_clear()
    monkeypatch.setattr(perth, "find_spec", lambda _: None)
    with pytest.raises(WatermarkError, match="pip install resemble-perth"):
        next(speaker.stream("Good morning."))
    assert speaker.vocoder.mels == []  # type: ignore[attr-defined]


def test_sound_that_is_not_finite_is_not_spoken() -> None:
    speaker = tiny_speaker()
    speaker.vocoder = lambda mel: torch.full((len(mel) * HOP,), torch.nan)
    with pytest.raises(WatermarkError, match="cannot be marked"):
        speaker.say("Good morning.")


@pytest.mark.parametrize("wrong", [{"speed": float("nan")}, {"speed": 0.0}, {"pitch_shift": float("inf")}])
def test_a_speed_that_is_none_is_an_error(wrong: dict[str, float]) -> None:
    with pytest.raises(TextError, match="give a number"):
        tiny_speaker().say("Good morning.", **wrong)


def test_another_format_is_refused_before_a_word_is_spoken(tmp_path: Path) -> None:
    speaker = tiny_speaker()
    with pytest.raises(AudioError, match=r"cannot be written as '\.docx'; use one of \.wav"):
        speaker.write("Good morning.", tmp_path / "said.docx")
    assert speaker.vocoder.mels == []  # type: ignore[attr-defined]


def test_nothing_to_say_is_an_error() -> None:
    with pytest.raises(TextError, match="nothing to say"):
        tiny_speaker().say(" ... \n — ")


def test_nothing_is_left_to_load_after_warming_up() -> None:
    loaded = (english._lexicon, english._tagger, english._grapheme_model)
    # A sentence that was read before, in another test, needs nothing any more.
    english.word_phones.cache_clear()
    for load in (*loaded, load_watermark):
        load.cache_clear()
    speaker = tiny_speaker()
    speaker.warm_up()
    assert [load.cache_info().currsize for load in (*loaded, load_watermark)] == [1, 1, 1, 1]
    speaker.say("They record a frobnak.")
    assert [load.cache_info().misses for load in (*loaded, load_watermark)] == [1, 1, 1, 1]
    speaker.warm_up("zh")
    with pytest.raises(TextError):
        speaker.warm_up("tlh-klingon")


def test_a_voice_is_found_by_name_by_file_and_on_the_base_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "build_vocoder", lambda name, _: name)
    by_name = Speaker.find("bm_george")
    assert by_name.vocoder == "packaged"  # type: ignore[comparison-overlap]
    base = packaged_base()
    own = tmp_path / "bm_george"
    save_profile(own, VoiceProfile(voice_of_nobody(base.model), base.hash, "me"))
    monkeypatch.chdir(tmp_path)
    by_file = Speaker.find("bm_george", vocoder="griffin_lim")
    assert by_file.vocoder == "griffin_lim"  # type: ignore[comparison-overlap]
    assert not torch.equal(by_file.voice["embedding"], by_name.voice["embedding"])
    with pytest.raises(CheckpointError, match="there is no voice 'nobody'"):
        Speaker.find("nobody")
    with pytest.raises(CheckpointError, match=r"nobody\.safetensors"):
        Speaker.find("nobody.safetensors")
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        Speaker.load(own, base=tmp_path)


def test_nothing_that_people_run_goes_past_the_mark() -> None:
    # What measures may hear speech before the mark; of what a device or an exported voice runs, these alone do.
    allowed = {
        ".unmarked(": {
            "client/speaker.py",
            "client/before_and_after.py",
            "shared_models/export/onnx_voice.py",
        },
        ".synthesize(": {"client/speaker.py", "shared_models/acoustic/voice_model.py"},
        "sharpen(": {
            "client/speaker.py",
            "shared_models/export/onnx_voice.py",
            "shared_models/audio/postfilter.py",
        },
    }
    for call, places in allowed.items():
        files = [path for room in ("client", "shared_models") for path in (REPOSITORY / room).rglob("*.py")]
        found = {
            path.relative_to(REPOSITORY).as_posix()
            for path in files
            if call in path.read_text(encoding="utf-8")
        }
        assert found == places, call


@pytest.mark.parametrize("contrast", [0.0, 0.3])
def test_formants_are_raised_as_much_as_the_base_asks_for(contrast: float) -> None:
    model = shaken(tiny_model(tiny_recipe(aligner__learn="never", model__contrast=contrast)))
    speaker = Speaker(model.model, voice_of_nobody(model), Ramp())
    phonemes = encode(phonemize("Good morning."))
    heard = speaker.unmarked(phonemes).mel
    with torch.no_grad():
        mel, _ = speaker.model.synthesize(phonemes[None], torch.tensor([len(phonemes)]), speaker.voice)
    smooth = torch.nn.functional.avg_pool1d(torch.nn.functional.avg_pool1d(mel[0], 3, 1), 3, 1)
    raised = mel[0][:, 2:-2] + contrast * (mel[0][:, 2:-2] - smooth)
    torch.testing.assert_close(heard[:, 2:-2], raised, rtol=1e-4, atol=1e-4)
