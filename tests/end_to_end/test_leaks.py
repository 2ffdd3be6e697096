"""Every byte that clients send, searched for everything that must stay with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_grid import FakeGrid
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from flwr.supercore.task_identity import TaskIdentity
from secrets_of_a_device import Secrets, add_embeddings, add_personal, collect, features_on
from tiny_federation import features_of_tests, small_corpus, tiny_model, tiny_recipe

from client.app import DEVICES_VARIABLE
from client.app import app as client_app
from client.home.device import Device
from server.app import plan_for
from server.rounds import FederationPlan, federate
from shared_models.config import Recipe
from simulations.engine.packing import pack
from simulations.engine.task_identity import FIRST_CLIENT_NODE_ID, SERVER_NODE_ID, identify
from simulations.preparation import Prepared, make_devices, prepare

pytestmark = pytest.mark.slow
CLIENTS = 3
App = Callable[[Message, Context], Message]


@pytest.fixture(scope="module", autouse=True)
def _restore_identity() -> Iterator[None]:
    names = ("_run_id", "_task_id", "_node_id")
    before = {name: getattr(TaskIdentity, name) for name in names}
    yield
    for name, value in before.items():
        setattr(TaskIdentity, name, value)


@dataclass
class Watched:
    """A federation whose clients run in this process, and all that they sent."""

    plan: FederationPlan
    devices: list[Device]
    app: App = client_app
    replies: list[Message] = field(default_factory=list)
    wire: list[bytes] = field(default_factory=list)
    """Each reply as Flower sends it, and the part of it that our own engine sends beside the array."""
    received: list[Message] = field(default_factory=list)
    secrets: Secrets = field(default_factory=Secrets)

    def answer(self, client: int, message: Message) -> list[Message]:
        training = message.metadata.message_type == "train"
        context = Context(1, FIRST_CLIENT_NODE_ID + client, {"partition-id": client}, RecordDict(), {})
        device = self.devices[client]
        number = int(dict(message.content["header"])["round"]) if training else 0
        before = device.load_personal("run", number)
        reply = self.app(message, context)
        if training:
            after = device.load_personal("run", number + 1)
            assert after is not None
            add_personal(self.secrets, before, after)
        self.received.append(message)
        self.replies.append(reply)
        self.wire += [message_to_proto(reply).SerializeToString(), pack(reply)[0]]
        return [reply]

    def run(self) -> None:
        federate(FakeGrid(CLIENTS, self.answer), self.plan)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    root = small_corpus(tmp_path_factory.mktemp("corpus"), train=CLIENTS, utterances=4)
    return prepare(recipe_of(corpus__path=str(root)), features_of_tests())


def recipe_of(**changes: Any) -> Recipe:
    return tiny_recipe(**({"client__inner_steps": 2, "federation__cohort": CLIENTS} | changes))


def watched(recipe: Recipe, data: Prepared, folder: Path, patch: pytest.MonkeyPatch) -> Watched:
    root = make_devices(folder / "devices", data.train, data.cache)
    patch.setenv(DEVICES_VARIABLE, str(root))
    devices = [Device.open(home.parent) for home in sorted(root.glob("*/recordings.json"))]
    resolved = recipe.override(
        {"corpus.path": data.recipe.corpus.path, "aligner.learn": data.recipe.aligner.learn}
    )
    plan = plan_for(resolved, folder / "checkpoints", "run", CLIENTS, seeded_noise=True)
    federation = Watched(plan, devices)
    for device in devices:
        collect(federation.secrets, device, resolved.features)
    return federation


ALGORITHMS: dict[str, dict[str, Any]] = {
    "fedrep": {},
    "fedper": {"federation__algorithm": "fedper"},
    "fedavg": {"federation__algorithm": "fedavg"},
    "maps": {"speaker__personal": "maps"},
    "central": {"privacy__mode": "central", "privacy__noise_multiplier": 0.3},
    "personal": {"personal_privacy__enabled": True, "personal_privacy__noise_multiplier": 0.5},
}


@pytest.fixture(scope="module", params=ALGORITHMS)
def honest(
    request: pytest.FixtureRequest, data: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    with pytest.MonkeyPatch.context() as patch:
        recipe = recipe_of(**ALGORITHMS[request.param])
        federation = watched(recipe, data, tmp_path_factory.mktemp(request.param), patch)
        federation.run()
        # What a reference encoder hears depends on the weights, which are those that each round sent.
        for message in federation.received:
            if message.metadata.message_type == "train":
                model = tiny_model(federation.plan.recipe)
                weights = np.frombuffer(message.content["shared"]["shared"].data, dtype="<f4").copy()
                model.load_shared_vector(torch.from_numpy(weights))
                heard = [f for device in federation.devices for f in features_on(device, recipe.features)]
                add_embeddings(federation.secrets, model, heard)
        yield federation


def test_nothing_of_a_devices_is_in_what_it_sends(honest: Watched) -> None:
    assert len(honest.replies) == CLIENTS * 4, "a greeting and three rounds of each"
    kinds = {kind for kind, _ in honest.secrets.windows}
    assert kinds >= {
        "speaker",
        "utterance",
        "text",
        "audio",
        "phonemes",
        "mel",
        "pitch",
        "energy",
        "embedding",
    }
    if honest.plan.recipe.federation.algorithm != "fedavg":
        assert kinds >= {"personal", "delta"}
    assert honest.secrets.found_in(b"".join(honest.wire)) == set()


def test_a_reply_has_the_agreed_keys_and_no_room_for_more(honest: Watched) -> None:
    for reply in honest.replies:
        assert not reply.has_error()
        if "hello" in reply.content:
            assert set(reply.content) == {"hello"}
            assert set(reply.content["hello"]) == {"member"}
            continue
        assert set(reply.content) == {"header", "shared"}
        assert set(reply.content["header"]) == {"kind", "schema", "round", "size", "dtype"}
        assert set(reply.content["shared"]) == {"shared"}
        assert len(reply.content["shared"]["shared"].data) == 4 * honest.plan.partition.size
        assert len(message_to_proto(reply).SerializeToString()) < 4 * honest.plan.partition.size + 600


def test_an_update_is_no_larger_than_the_shared_set(honest: Watched) -> None:
    names = [t.name for t in honest.plan.partition.shared]
    assert not any(name.startswith("voices.") for name in names)
    model = tiny_model(honest.plan.recipe)
    personal = sum(p.numel() for p in model.personal_parameters())
    everything = sum(p.numel() for p in model.model.parameters())
    assert personal > 0
    assert honest.plan.partition.size == everything - personal


# The control: the same search over what leaky clients send.


@pytest.fixture(scope="module")
def leaking(data: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with pytest.MonkeyPatch.context() as patch:
        federation = watched(recipe_of(), data, tmp_path_factory.mktemp("leaking"), patch)
        federation.run()
        model = tiny_model(federation.plan.recipe)
        model.load_shared_vector(federation.plan.initial)
        heard = features_on(federation.devices[0], federation.plan.recipe.features)
        add_embeddings(federation.secrets, model, heard)
        yield federation


def in_an_array(content: RecordDict, secret: bytes) -> None:
    content["more"] = ArrayRecord({"x": Array("uint8", (len(secret),), "raw", secret)})


def in_the_header(content: RecordDict, secret: bytes) -> None:
    content["header"]["more"] = secret


def in_the_update(content: RecordDict, secret: bytes) -> None:
    data = content["shared"]["shared"].data
    content["shared"]["shared"].data = data[:4003] + secret + data[4003 + len(secret) :]


def send_once(leaking: Watched, leak: Callable[[RecordDict], None]) -> bytes:
    """One client's first round once more, by a client that adds what ``leak`` does to its reply."""
    message = next(m for m in leaking.received if m.metadata.message_type == "train")
    identify(1, message.metadata.dst_node_id)
    reply = client_app(message, Context(1, FIRST_CLIENT_NODE_ID, {"partition-id": 0}, RecordDict(), {}))
    leak(reply.content)
    sent = message_to_proto(reply).SerializeToString()
    identify(1, SERVER_NODE_ID)
    return sent


FORMS = [
    *((kind, form) for kind in ("audio", "mel", "embedding", "personal", "delta", "pitch", "energy")
      for form in ("raw", "half", "double")),
    ("audio", "<i2"), ("text", "u1"), ("speaker", "utf-8"), ("utterance", "utf-8"),
    *(("phonemes", form) for form in ("u1", "<i2", "<i4", "<i8")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_the_search_finds_each_secret_in_a_leaky_clients_reply(
    leaking: Watched, kind: str, form: str
) -> None:
    places = [in_an_array, in_the_header, in_the_update]
    place = places[FORMS.index((kind, form)) % len(places)]
    sent = send_once(leaking, lambda content: place(content, leaking.secrets.samples[(kind, form)]))
    found = leaking.secrets.found_in(sent)
    assert any(name == kind and said.startswith(form) for name, said in found)


@pytest.mark.parametrize("kind", ["mel", "personal"])
def test_the_search_finds_numbers_among_metrics(leaking: Watched, kind: str) -> None:
    numbers = np.frombuffer(leaking.secrets.samples[(kind, "raw")], dtype="<f4")
    metrics = MetricRecord({"loss": [float(x) for x in numbers]})
    sent = send_once(leaking, lambda content: content.__setitem__("metrics", metrics))
    assert (kind, "double") in leaking.secrets.found_in(sent)


def test_the_search_finds_whole_things_a_client_might_add(leaking: Watched) -> None:
    device = leaking.devices[0]
    said = device.recordings[2].text
    extra = ConfigRecord({"text": said, "file": str(device.recordings[2].audio)})
    found = leaking.secrets.found_in(send_once(leaking, lambda content: content.__setitem__("more", extra)))
    assert {kind for kind, _ in found} == {"text", "speaker", "utterance"}


def test_full_sharing_which_is_no_private_way_sends_a_voice_of_its_own(
    data: Prepared, tmp_path: Path
) -> None:
    recipe = recipe_of(federation__algorithm="full", aligner__learn="never")
    with pytest.MonkeyPatch.context() as patch:
        federation = watched(recipe, data, tmp_path, patch)
        voices = [t for t in federation.plan.partition.shared if t.name.startswith("voices.")]
        sent: list[np.ndarray] = []

        def app(message: Message, context: Context) -> Message:
            reply = client_app(message, context)
            if message.metadata.message_type == "train":
                sent.append(np.frombuffer(reply.content["shared"]["shared"].data, dtype="<f4"))
            return reply

        federation.app = app
        federation.run()
    assert all(update[t.start : t.stop].any() for update in sent for t in voices)
