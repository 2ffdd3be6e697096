"""Features that are kept: read and moved once while there is room, and the same ones always."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from client.learning.kept_features import KeptFeatures, Room
from client.learning.material import on_device
from shared_models.features import Features

META = torch.device("meta")


class Disk(Sequence[Features]):
    """Counts how often it is read; an utterance has 10 frames."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        self.read.append(index)
        return Features(
            str(index),
            torch.zeros(10, dtype=torch.int64),
            torch.full((10, 80), float(index)),
            torch.zeros(10),
            torch.ones(10, dtype=torch.bool),
            torch.zeros(10),
            torch.ones(10, dtype=torch.int64),
        )


def test_each_is_read_once_while_there_is_room_and_again_where_there_is_none() -> None:
    disk = Disk()
    # 80 phonemes and 80 durations, 3,200 of mel, 40 of pitch, 10 of voicing, 40 of energy.
    one = 80 + 3200 + 40 + 10 + 40 + 80
    kept = KeptFeatures(disk, Room(2 * one + 10))
    assert len(kept) == 4
    for _ in range(3):
        assert [kept[index].utterance_id for index in range(4)] == ["0", "1", "2", "3"]
    assert disk.read == [0, 1, 2, 3, 2, 3, 2, 3]


def test_speakers_share_the_room() -> None:
    first, second, room = Disk(), Disk(), Room(4 * 3450)
    for speaker in (KeptFeatures(first, room), KeptFeatures(second, room)):
        for _ in range(2):
            for index in range(4):
                assert speaker[index].mel[0, 0] == index
    assert first.read == [0, 1, 2, 3]
    assert second.read == [0, 1, 2, 3] * 2


def test_they_stay_on_the_device_that_trains_and_are_moved_again_where_there_is_no_room() -> None:
    disk = Disk()
    there = KeptFeatures(disk, Room(2 * 3450 + 10), META)
    assert there[0] is there[0]
    assert there[1] is there[1]
    assert there[2] is not there[2]
    assert there[2].mel.device == META
    assert disk.read == [0, 1, 2, 2, 2]


def test_what_is_kept_on_a_device_is_not_kept_there_twice() -> None:
    disk = Disk()
    assert on_device(disk, torch.device("cpu")) is disk
    there = on_device(disk, META)
    assert isinstance(there, KeptFeatures)
    assert on_device(there, META) is there
    in_memory = KeptFeatures(disk, Room(10))
    assert on_device(in_memory, META) is not in_memory
