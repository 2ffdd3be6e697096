"""Damaged files and odd texts of every kind: nothing but FedVoice's own errors, whatever their bytes are.

Each kind has a few whole files, whose bytes are changed, cut, doubled and mixed by a seed. CI takes some hundred of
them; ``pytest tests/end_to_end/test_fuzz.py --fuzz 10000`` takes so many of each kind.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from odd_texts import text_of
from phone_recordings import phone_recording
from safetensors.torch import save
from tiny_federation import tiny_model, tiny_recipe

from client.home.recordings import find_recordings
from client.profile import load_profile
from client.speaker_embedding import SpeakerEmbedding, load_embedding, save_embedding
from shared_models.audio.alignment import read_alignment
from shared_models.audio.decoding import decode, length_of
from shared_models.audio.reading import one_channel, resample
from shared_models.base_model import BaseModel, load_base, write_base
from shared_models.errors import AudioError, FedVoiceError
from shared_models.partition import weights_hash
from shared_models.speakers.voice import VoiceTensor
from shared_models.text.dictionary import Dictionary
from shared_models.text.phonemes import phonemize
from shared_models.text.pieces import split_text
from shared_models.text.symbols import SYMBOL_IDS
from shared_models.text.unspoken import is_said
from shared_models.vocoders import build_generator, load_vocoder, save_vocoder
from shared_models.vocoders.diffwave import DiffWaveDimensions
from shared_models.vocoders.kinds import Dimensions
from shared_models.vocoders.melgan import MelGanDimensions
from shared_models.vocoders.vocos import VocosDimensions

SIZES: dict[str, Dimensions] = {
    "melgan": MelGanDimensions(channels=16),
    "diffwave": DiffWaveDimensions(channels=4, layers=3, cycle=2),
    "vocos": VocosDimensions(width=8, hidden=16, blocks=2),
}
BASE = "a1" * 32
TAKES = (VoiceTensor("embedding", (8,), "sources"),)
TOKENS = [
    b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"-1", b"nan", b"1e999", b'"', b"'", b"\t", b"|", b",",
    b"\n", b"\r", b"{", b"[", b"}", b"]", b"null", b"RIFF", b"data", b"OggS", b"fLaC", b"ftyp", b"../", b"\\",
    b"<exists>",
    b"\xef\xbb\xbf", b"\xff\xfe", "é你".encode(), b"F16", b"I64", b"99999999999",
]  # fmt: skip


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """Some of the things that happen to files."""
    content = bytearray(whole)
    for _ in range(rng.randint(1, 6)):
        # Most of what decides is at the beginning.
        place = rng.randrange(min(len(content), rng.choice([40, 400, 40_000])) + 1)
        match rng.randrange(7):
            case 0:
                content[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                content[place : place + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 8))
            case 2:
                del content[place : place + rng.randint(1, 200)]
            case 3:
                content[place:place] = rng.choice(TOKENS)
            case 4:
                content[place : place + 4] = rng.choice(TOKENS)
            case 5:
                content[place:place] = content[place : place + rng.randint(1, 300)]
            case 6 if rng.random() < 0.3:
                del content[place:]
    return bytes(content)


def sounds(folder: Path) -> Iterator[tuple[str, bytes]]:
    wave = (0.3 * np.sin(np.arange(6000) * 0.1)).astype(np.float32)
    stereo = np.stack([wave, -wave], axis=1)
    for suffix, options in (
        (".wav", {}), (".wav", {"subtype": "FLOAT"}), (".wav", {"subtype": "GSM610"}), (".flac", {}), (".ogg", {}),
        (".opus", {"format": "OGG", "subtype": "OPUS"}), (".mp3", {}), (".aiff", {}), (".caf", {}), (".au", {}),
    ):  # fmt: skip
        path = folder / f"whole{suffix}"
        soundfile.write(path, stereo if suffix in (".flac", ".aiff") else wave, 16000, **options)
        yield suffix, path.read_bytes()
    phones = ((".m4a", "aac", 16000), (".aac", "aac", 16000), (".webm", "libopus", 48000))
    for suffix, codec, rate in phones if find_spec("av") else ():
        yield suffix, phone_recording(folder / f"phone{suffix}", codec, wave, rate).read_bytes()


def hear(path: Path) -> None:
    with contextlib.suppress(AudioError):
        assert length_of(path) >= 0
    recording = one_channel(decode(path, 60), path)
    heard = resample(recording.wave, recording.rate, 22050)
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1


def tables(folder: Path) -> Iterator[tuple[str, bytes]]:
    rows = [("path", "text", "speaker_id", "split", "role", "seconds")]
    rows += [(f"{n}.wav", f'"said" {n}', f"s{n % 2}", "train", "", "1.5") for n in range(4)]
    for n in range(4):
        (folder / f"{n}.wav").touch()
    for delimiter in ",\t|;":
        yield ".csv", "\n".join(delimiter.join(row) for row in rows).encode()
    yield ".csv", "\n".join(f"{n}.wav|s{n % 2}|text {n}" for n in range(4)).encode()
    yield ".csv", "\r\n".join(f"{n}|text {n}|text" for n in range(4)).encode("utf-16")


def grids(_: Path) -> Iterator[tuple[str, bytes]]:
    short = '"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "phones" 0 1 2 0 0.5 "S" 0.5 1 "sil"'
    long = "intervals [1]: xmin = 0 xmax = 0.5 text = "
    yield ".TextGrid", short.encode()
    yield ".TextGrid", short.replace('2 0 0.5 "S"', f'2 {long} "S"').encode("utf-16")
    tier = {"type": "interval", "entries": [[0, 0.5, "S"], [0.5, 1, "sil"]]}
    yield ".TextGrid", json.dumps({"start": 0, "end": 1, "tiers": {"phones": tier}}).encode()
    yield ".phones", b"0\t0.5\ts\n0.5\t1\tsil\n"


def profiles(_: Path) -> Iterator[tuple[str, bytes]]:
    header = {"format": "fedvoice-profile-2", "base": BASE, "name": "Ann", "privacy": '{"epsilon": 2.0}'}
    yield ".safetensors", save({"embedding": torch.randn(1, 8)}, header)


def speak_with(path: Path) -> None:
    voice = load_profile(path, base=BASE, takes=TAKES).voice
    assert torch.isfinite(voice["embedding"]).all()


def vocoders(folder: Path) -> Iterator[tuple[str, bytes]]:
    for kind, sizes in SIZES.items():
        save_vocoder(folder / "v", build_generator(kind, sizes), kind, sizes)
        yield ".safetensors", (folder / "v").read_bytes()


def embeddings(folder: Path) -> Iterator[tuple[str, bytes]]:
    privacy = {"unit": "utterance", "epsilon": 2.0, "delta": 1e-3, "mechanism": "Gaussian"}
    save_embedding(folder / "e", SpeakerEmbedding(torch.randn(8), "ge2e", "ab" * 32, privacy))
    yield ".safetensors", (folder / "e").read_bytes()


def bases(folder: Path) -> Iterator[tuple[str, bytes]]:
    recipe = tiny_recipe()
    model = tiny_model(recipe)
    write_base(folder / "b", BaseModel(model, recipe, weights_hash(model.shared_vector())))
    yield ".safetensors", (folder / "b").read_bytes()


def dictionaries(_: Path) -> Iterator[tuple[str, bytes]]:
    yield ".tsv", "# mine\nGIF\tjif\nNguyen\t/N W IH1 N/\n朝阳\tchao2 yang2\n😊\tsmiling".encode()


def use(path: Path) -> None:
    own = Dictionary.read(path)
    for language in ("en", "zh"):
        assert set(phonemize("Nguyen sent a GIF to 朝阳.", language, own)) <= set(SYMBOL_IDS)


def texts(_: Path) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(14)
    for number in range(60):
        yield (".en", ".zh")[number % 2], f"word 字 {text_of(rng)}".encode()
    yield ".en", b"7"


def say(path: Path) -> None:
    """As a speaker does: what is said of it, piece by piece."""
    text, language = path.read_bytes().decode("utf-8", "replace"), path.suffix[1:]
    pieces = [piece.text for piece in split_text(text) if is_said(piece.text, language)]
    for piece in pieces or [text]:
        assert set(phonemize(piece, language)) <= set(SYMBOL_IDS)


Kind = tuple[Callable[[Path], Iterator[tuple[str, bytes]]], Callable[[Path], object], int]
KINDS: dict[str, Kind] = {
    "texts": (texts, say, 100),
    "sounds": (sounds, hear, 150),
    "tables": (tables, find_recordings, 150),
    "grids": (grids, read_alignment, 150),
    "profiles": (profiles, speak_with, 100),
    "vocoders": (vocoders, load_vocoder, 40),
    "embeddings": (embeddings, load_embedding, 100),
    "bases": (bases, load_base, 40),
    "dictionaries": (dictionaries, use, 100),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_ends_in_anything_but_a_sentence(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    make, read, few = KINDS[kind]
    whole = list(make(tmp_path))
    for suffix, content in whole:
        path = tmp_path / f"whole-x{suffix}"
        path.write_bytes(content)
        read(path)  # what is not damaged is read
    refused = 0
    for seed in range(request.config.getoption("--fuzz") or few):
        rng = random.Random(f"{kind} {seed}")
        suffix, content = rng.choice(whole)
        path = tmp_path / f"{kind}-x{suffix}"
        path.write_bytes(damaged(content, rng))
        try:
            read(path)
        except FedVoiceError as error:
            refused += bool(str(error))
        except Exception as error:
            error.add_note(f"by the {kind} of seed {seed}, kept as {path}")
            raise
    assert refused, "the damage reaches what is read"
