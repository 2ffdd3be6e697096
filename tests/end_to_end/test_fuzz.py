"""Damaged files of every kind: nothing but FedVoice's own errors, whatever their bytes are.

Each kind has a few whole files, whose bytes are changed, cut, doubled and mixed by a seed. CI takes some hundred of
them; ``pytest tests/end_to_end/test_fuzz.py --fuzz 10000`` takes so many of each kind.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save

from client.home.recordings import find_recordings
from client.profile import load_profile
from shared_models.audio.alignment import read_alignment
from shared_models.audio.decoding import decode, length_of
from shared_models.audio.reading import one_channel, resample
from shared_models.errors import AudioError, FedVoiceError
from shared_models.speakers.voice import VoiceTensor
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
    yield ".m4a", b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(400)


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


Kind = tuple[Callable[[Path], Iterator[tuple[str, bytes]]], Callable[[Path], object], int]
KINDS: dict[str, Kind] = {
    "sounds": (sounds, hear, 150),
    "tables": (tables, find_recordings, 150),
    "grids": (grids, read_alignment, 150),
    "profiles": (profiles, speak_with, 100),
    "vocoders": (vocoders, load_vocoder, 40),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_ends_in_anything_but_a_sentence(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    make, read, few = KINDS[kind]
    whole = list(make(tmp_path))
    for suffix, content in whole:
        if suffix != ".m4a":
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
