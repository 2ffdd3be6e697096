"""A device runs what its owner installed: never what came with a run, and never beyond the owner's policy."""

from __future__ import annotations

import hashlib
import io
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from flwr.app import Message
from flwr.supercore.constant import TaskType
from live_device import allow, bytes_of, device_of, enrolled, joined, question, status, until
from small_superlink import superlink

from client.home.policy import Policy, as_toml
from shared_models import bundle as bundles

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def malicious(witness: Path) -> bytes:
    """A bundle of the same name and version, whose client/app.py leaves a trace wherever it is imported."""
    files = {
        "pyproject.toml": bundles._project("0.1.0", bundles.PROTOCOL).encode(),
        "client/__init__.py": b"",
        "client/app.py": f"""
from pathlib import Path
Path({str(witness)!r}).write_text("owned")
from flwr.clientapp import ClientApp
app = ClientApp()
""".encode(),
    }
    content = "\n".join(
        f"{n},{hashlib.sha256(d).hexdigest()},{len(d) * 8}" for n, d in files.items()
    ).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in {**files, ".info/CONTENT": content}.items():
            archive.writestr(name, data)
    return out.getvalue()


def other_version(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The bundle of a server with another FedVoice."""
    with monkeypatch.context() as patch:
        patch.setattr(bundles, "installed", lambda _: "9.9.9")
        return bundles.bundle.__wrapped__()


def hours_that_are_not_now() -> str:
    """An hour that begins in ten."""
    begin = datetime.now() + timedelta(hours=10)
    return f"{begin:%H:%M}-{begin + timedelta(hours=1):%H:%M}"


def refused(reply: Message) -> str:
    assert reply.has_error()
    return str(reply.error.reason)


def test_a_device_runs_only_its_own_code_and_only_what_its_policy_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = tmp_path / "witness"
    with superlink(tmp_path / "server") as link:
        link.submit(malicious(witness))
        home, recipe = device_of(tmp_path)
        enrolled(home, link)
        with joined(home, FLWR_HOME=str(tmp_path / "flwr")):
            node = link.wait_online()
            said = refused(link.reply(link.ask(node, question(recipe))))
            assert said.startswith("[declined] ")
            assert "runs only what its owner installed" in said
            assert until(lambda: status(home).get("refusal"), what="the refusal in the status") in said

            link.submit(other_version(monkeypatch))
            said = refused(link.reply(link.ask(node, question(recipe))))
            assert "install fedvoice 9.9.9 in its place" in said

            link.submit()
            # Each is within what Flower delivers and outside of what the owner allows.
            for changes, word in (
                ({"privacy.mode": "none", "privacy.noise_multiplier": None}, "policy modes"),
                ({"privacy.noise_multiplier": 0.11}, "policy minimum_noise_multiplier"),
                ({"privacy.clipping_norm": 1e6}, "policy maximum_clipping_norm"),
                ({"client.outer_steps": 100000}, "policy maximum_local_steps"),
                ({"federation.algorithm": "full"}, "policy allowed_shared"),
                ({"federation.rounds": 10000}, "policy epsilon_per_run"),
            ):
                # Else the device would decline in its last words, without looking.
                (home / "policy.toml").touch()
                said = refused(link.reply(link.ask(node, question(recipe.override(changes)))))
                assert said.startswith("[declined] policy "), said
                assert word in said
                assert not list(home.glob("personal/*/*")), "trained though declined"

            (home / "policy.toml").write_text(as_toml(Policy(hours=hours_that_are_not_now())))
            assert "not now (policy hours" in refused(link.reply(link.ask(node, question(recipe))))
            allow(home)
            assert "StaleCopyError" in refused(
                link.reply(link.ask(node, question(recipe, 4, seen=3), group="4"))
            )
            (home / "policy.toml").touch()
            bytes_of(link.reply(link.ask(node, question(recipe))))

            # A task of another kind would be left lying, and the SuperNode wait for it for ever.
            monkeypatch.setattr(link, "kind", str(TaskType.AGENT_APP))
            link.submit()
            said = refused(link.reply(link.ask(node, question(recipe))))
            assert "answers no other" in said
    assert not witness.exists()
    assert not list((tmp_path / "flwr").rglob("app.py"))
