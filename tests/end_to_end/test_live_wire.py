"""Every byte between real devices and a real server, both ways and without TLS, searched for what must stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from live_rehearsals import PATIENCE, tiny_plan
from secrets_of_a_device import Secrets, add_embeddings, add_personal, collect, features_on
from tiny_federation import tiny_model

from client.home.device import Device
from client.rounds.outbox import Outbox
from server.checkpoints import latest_checkpoint
from server.live.federation import live_plan
from simulations.rehearsal.live_federation import LiveFederation, Network, free_port
from simulations.rehearsal.voices import write_voices
from simulations.rehearsal.wire_tap import WireTap

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROUNDS = 2


@dataclass
class Recorded:
    """A run that is over: what was said, what must not have been, and what must."""

    said: bytes
    heard: bytes
    secrets: Secrets
    updates: list[bytes]
    """What every device kept of what it sent in the last round."""
    weights: list[bytes] = field(default_factory=list)
    """Shared weights that went down."""

    @property
    def everything(self) -> bytes:
        return self.said + self.heard


def record(folder: Path, devices: int, rounds: int, **environment: str) -> Recorded:
    plan = tiny_plan(devices, rounds)
    address, server = (f"127.0.0.1:{free_port()}" for _ in range(2))
    live = LiveFederation(
        folder / "live", plan.serve_options, write_voices(folder / "voices", plan.prepared), plan.policy,
        # A device's name is told to the operator; its owner's, in these corpora the speaker's id, is not.
        Network(server, address), PATIENCE, [f"laptop {n}" for n in range(devices)], environment,
    )  # fmt: skip
    with live:
        live.serve()
        with WireTap(live.home.folder, address, server) as tap:
            live.join_all()
            live.watch()
            # Devices sign off through it, too.
            for device in live.devices:
                device.stop()
            said, heard = tap.from_devices(), tap.from_server()
    secrets = Secrets()
    final = latest_checkpoint(live.home.checkpoints)
    assert final is not None
    homes = [live.device_home(number) for number in range(devices)]
    for number, home in enumerate(homes):
        device = Device.open(home)
        collect(secrets, device, plan.recipe.features)
        secrets.windows.pop(("speaker", f"utf-8 {len(device.speaker)}"), None)
        _with_longer_texts(secrets, device)
        _add_personal(secrets, device, live.home.settings().run, rounds)
        for name in (
            live.voices[number].speaker,
            str(home),
            str(live.voices[number].table),
            live.voices[number].table.name,
        ):
            secrets.add_name("name", name)
        for recording in device.recordings:
            secrets.add_name("file", recording.audio.name)
        for weights in (live_plan(live.home).initial, final.weights):
            model = tiny_model(plan.recipe)
            model.load_shared_vector(weights)
            add_embeddings(secrets, model, features_on(device, plan.recipe.features))
    initial = live_plan(live.home).initial
    kept = [path.read_bytes() for home in homes for path in Outbox(home / "outbox").folder.rglob("round-*")]
    assert len(kept) >= devices
    updates = [letter.partition(b"\n")[2] for letter in kept]
    return Recorded(said, heard, secrets, updates, [initial.numpy().tobytes()])


def _with_longer_texts(secrets: Secrets, device: Device) -> None:
    """Texts by 14 characters: by eight, English words of HTTP's own headers are found."""
    for form in ("u1", "<u2"):
        secrets.windows.pop(("text", form), None)
    for recording in device.recordings:
        characters = np.frombuffer(recording.text.encode(), dtype=np.uint8)
        secrets.add_codes("words", characters, ["u1", "<u2"], window=14)


def _add_personal(secrets: Secrets, device: Device, run: str, rounds: int) -> None:
    before = None
    for number in range(1, rounds + 1):
        after = device.load_personal(run, number + 1)
        assert after is not None
        if number in (1, rounds):
            add_personal(secrets, before, after)
        before = after
    assert before is not None
    # As one vector too, across the borders of tensors, as it would be sent.
    together = torch.cat([tensor.reshape(-1) for tensor in before.values()])
    secrets.add_numbers("personal", together.numpy())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("honest"), 2, ROUNDS)


def test_nothing_that_must_stay_is_on_the_wire(run: Recorded) -> None:
    kinds = {kind for kind, _ in run.secrets.windows}
    assert kinds >= {"utterance", "words", "audio", "phonemes", "mel", "pitch", "energy", "embedding", "personal",
                     "delta", "name", "file"}  # fmt: skip
    windows = sum(len(part) for parts in run.secrets.windows.values() for part in parts)
    print(f"{len(run.said):,} bytes said, {len(run.heard):,} heard; {windows:,} windows searched")
    assert run.secrets.found_in(run.said) == set()
    assert run.secrets.found_in(run.heard) == set()


def test_what_is_meant_to_travel_is_found(run: Recorded) -> None:
    """The control: updates and weights are in the recording, in the clear and unbroken."""
    for update in run.updates:
        middle = len(update) // 2
        assert update[middle : middle + 4096] in run.said
    for weights in run.weights:
        assert weights[:4096] in run.heard
    wanted = Secrets()
    wanted.add_numbers("update", np.frombuffer(run.updates[0], dtype="<f4")[:20_000])
    assert ("update", "raw") in wanted.found_in(run.said)
    assert b"POST /v1/fleet/push-object" in run.said
    assert b"POST /fedvoice/enrol" in run.said


def test_the_search_finds_every_kind_where_it_is_planted(run: Recorded) -> None:
    rng = np.random.default_rng(1)
    for (kind, form), secret in run.secrets.samples.items():
        if kind in {"speaker", "text"}:
            continue
        at = int(rng.integers(len(run.said)))
        # Its surroundings are enough, and the whole recording is searched above.
        planted = run.said[max(0, at - 50_000) : at] + secret + run.said[at : at + 50_000]
        found = run.secrets.found_in(planted)
        assert any(name == kind and said.startswith(form) for name, said in found), (kind, form)


_LEAK = '''
"""Makes a device leak: what it sends begins with mel frames of its first recording."""
import importlib.abc
import importlib.util
import sys


class Leak(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "client.app":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        plain = spec.loader.exec_module

        def execute(module):
            plain(module)
            from shared_models.audio.cache import FeatureCache

            train = module.encode_update

            def leaky(model, update, device, task):
                mel = FeatureCache(device.feature_cache).get(device.recordings[0], task.recipe.features).mel.reshape(-1)
                update.vector[: len(mel[:4000])] = mel[:4000]
                return train(model, update, device, task)

            module.encode_update = leaky

        spec.loader.exec_module = execute
        return spec


sys.meta_path.insert(0, Leak())
'''


def test_a_device_that_leaks_is_caught(tmp_path: Path) -> None:
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(_LEAK)
    leaky = record(tmp_path, 1, 1, PYTHONPATH=str(tmp_path / "patch"))
    assert ("mel", "raw") in leaky.secrets.found_in(leaky.said)
    assert leaky.secrets.found_in(leaky.heard) == set()
