"""Names that others chose become files in the folder that is meant, whatever they are."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_names import NASTY, PATHS

from client.home.device import Device
from client.home.recordings import find_recordings
from client.rounds.anchors import find_anchor
from shared_models.errors import (
    CheckpointError,
    CorpusError,
    FedVoiceError,
    LacksAnchorError,
    RecipeError,
    StorageError,
)
from shared_models.file_names import file_name_of, is_harmless, path_within
from shared_models.files import write_atomically
from shared_models.pretrained import packaged_voice
from shared_models.recipes import find_recipe
from shared_models.recipes.vocoders import find_vocoder_recipe
from shared_models.utterance import Utterance
from simulations.evaluation.unseen_speakers import save_clips
from simulations.preparation import Prepared, make_devices
from simulations.rehearsal.voices import write_voices
from simulations.run_folder import RunFolder, default_run_path

names = st.one_of(
    st.sampled_from(PATHS + NASTY),
    st.text(),
    st.text(st.sampled_from('./\\:~ \0aB%$*?"<>|-'), max_size=30),
    st.text(min_size=200, max_size=400),
)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@given(names)
def test_a_name_is_one_plain_file_for_every_system(name: str) -> None:
    found = file_name_of(name)
    assert is_harmless(found)
    assert len(Path(found).parts) == len(PureWindowsPath(found).parts) == 1
    assert not PureWindowsPath(found).is_reserved()
    assert len(found.encode()) <= 96
    assert file_name_of(name) == found


@given(names, names)
def test_two_names_are_two_files(one: str, other: str) -> None:
    assert (file_name_of(one) == file_name_of(other)) == (one == other)


@given(names)
def test_nobody_takes_the_place_of_a_name_that_is_hashed(name: str) -> None:
    found = file_name_of(name)
    assert found == name or file_name_of(found) != found


@pytest.mark.parametrize(
    "name", ["p225", "Jürgen", "张伟", "af_heart", "fedrep with eps 8", "SSB0005", "a.b", "x=1"]
)
def test_names_as_people_have_them_stay(name: str) -> None:
    assert file_name_of(name) == name


@settings(max_examples=60)
@given(st.lists(names, min_size=1, max_size=3, unique=True))
def test_what_is_written_for_a_speaker_lies_where_it_is_meant(
    tmp_path_factory: pytest.TempPathFactory, speakers: list[str]
) -> None:
    top = tmp_path_factory.mktemp("top")
    root = top / "a" / "b" / "c"
    recordings = {speaker: [Utterance("u", "s", Path("a.wav"), "hm")] for speaker in speakers}
    make_devices(root / "devices", recordings, root / "features")
    homes = sorted(path.parent for path in (root / "devices").glob("*/recordings.json"))
    assert len(homes) == len(speakers)
    if not any("\ud800" <= character <= "\udfff" for speaker in speakers for character in speaker):
        assert [Device.open(home).speaker for home in homes] == speakers
        written = write_voices(root / "voices", Prepared(None, recordings, {}, {}, root))  # type: ignore[arg-type]
        assert [voice.speaker for voice in written] == speakers
        assert len(_files(root / "voices")) == len(speakers)
    assert {path.relative_to(top).parts[:3] for path in _files(top)} == {("a", "b", "c")}


@settings(max_examples=40)
@given(names)
def test_what_is_written_for_a_clip_or_a_run_lies_where_it_is_meant(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    top = tmp_path_factory.mktemp("top")
    folder = top / "a" / "b" / "c"
    clip = type("Clip", (), {"wave": torch.zeros(8).numpy()})
    assert (folder / save_clips({"real": [clip]}, folder, name)["real"]).is_file()  # type: ignore[list-item]
    assert [path.parent for path in _files(top)] == [folder]
    assert default_run_path(name, folder).parent == folder
    try:
        assert RunFolder(folder).arm(name).path.parent == folder / "arms"
        assert is_harmless(name)
    except CheckpointError:
        assert not is_harmless(name)


@given(names)
def test_what_is_asked_for_by_name_is_one_of_those_that_there_are(name: str) -> None:
    for find, error in (
        (find_recipe, RecipeError),
        (find_vocoder_recipe, RecipeError),
        (packaged_voice, CheckpointError),
    ):
        with pytest.raises(error):
            find(name + "\0")  # type: ignore[operator]
        with pytest.raises((error, FedVoiceError)):
            find(f"../{name}/../../x")  # type: ignore[operator]


@settings(max_examples=40)
@given(names)
def test_an_anchor_is_asked_for_by_a_hash_alone(
    tmp_path_factory: pytest.TempPathFactory, digest: str
) -> None:
    home = tmp_path_factory.mktemp("home")
    with pytest.raises(LacksAnchorError):
        find_anchor(Device(home, "s", (), home), digest, None)


@given(names)
def test_a_table_names_files_of_its_own_folder(name: str) -> None:
    folder = Path("/corpus/of/somebody")
    try:
        found = path_within(folder, name, "the table, line 1")
    except CorpusError:
        return
    assert folder in found.parents or found == folder
    assert ".." not in found.parts
    assert "\0" not in str(found)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../other/private", "a/../../b"])
def test_a_foreign_table_reads_no_file_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "metadata.csv").write_text(f"{name}|Some words.\nb|More words.\n")
    found = find_recordings(tmp_path)
    assert not found.utterances
    assert "lies outside of" in found.problems[0].reason


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")
@pytest.mark.parametrize("place", ["/proc/nowhere/x.wav", "/proc/x.wav"])
def test_where_no_file_can_be_made_it_is_said_in_one_sentence(place: str) -> None:
    with pytest.raises(StorageError, match="choose another place"):
        write_atomically(Path(place), b"sound")
