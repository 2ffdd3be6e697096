"""Fetching the model that a federation published, and checking all of it before it is used.

The checks, in this order: the manifest is signed by the authority that the join code named; it lists the files of a
published model and no other; each file has the listed size and hash; the weights are finite and load as the model of
their recipe. Only then does the folder get its name. Pieces that arrived are kept, so an interrupted download goes on.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER

from client.home.kept_bases import keep_base
from client.live.call_signer import CallSigner
from client.live.enrolment import clock_problem
from client.live.home import Membership
from client.live.keys import DeviceKey
from client.live.wrong_certificate import shows_wrong_certificate
from shared_models.base_model import load_base
from shared_models.disk import shortage
from shared_models.errors import CheckpointError, ServiceError
from shared_models.files import storage_problems, write_atomically
from shared_models.private_files import private_folder, private_opener
from shared_models.published_model import (
    LARGEST_MANIFEST,
    LISTED,
    MANIFEST,
    MODEL_PATH,
    PIECE_BYTES,
    SIGNATURE,
    Manifest,
    check_file,
    check_signature,
    parse_manifest,
    verify_folder,
)
from shared_models.shown_text import shown

Progress = Callable[[int, int], None]
_SECONDS = 60.0
_FIRST_PAUSE, _MOST_PAUSE, _TRIES = 0.5, 16.0, 6
_ROOM = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A model that is on this disk, checked."""

    folder: Path
    manifest: Manifest


def fetch_model(home: Path, output: Path | None = None, on_progress: Progress | None = None) -> FetchedModel:
    """Fetch what the federation of ``home`` published into ``output``, or ``<home>/models/``, and keep its base.

    ``on_progress`` hears bytes done and in all. Raises :class:`EnrolmentError` where this device has not joined,
    :class:`CheckpointError` for a model that is not what the authority signed, :class:`ServiceError` where the server
    cannot be reached, refuses, or has none, and :class:`StorageError`.
    """
    membership, authority = Membership.load(home), (home / "ca.pem").read_bytes()
    with _Desk(home, membership) as desk:
        content, signature = desk.manifest()
        check_signature(content, signature, authority)
        manifest = parse_manifest(content)
        if manifest.run != membership.run:
            raise CheckpointError(
                "the published model is of another run than this device takes part in: it is not used"
            )
        target = _target(home, output, content, manifest)
        if _is_here(target, content):
            verify_folder(target, authority)
        else:
            _download(desk, home, target, content, signature, manifest, authority, on_progress)
    base = load_base(target)
    keep_base(base)
    return FetchedModel(target, manifest)


def _target(home: Path, output: Path | None, content: bytes, manifest: Manifest) -> Path:
    name = f"round-{manifest.round:05d}-{hashlib.sha256(content).hexdigest()[:8]}"
    target = output.expanduser() if output is not None else home / "models" / name
    if target.exists() and not _is_here(target, content) and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target} exists and is not this model: name another place with --output")
    return target


def _is_here(target: Path, content: bytes) -> bool:
    try:
        return (target / MANIFEST).read_bytes() == content
    except OSError:
        return False


def _download(
    desk: _Desk, home: Path, target: Path, content: bytes, signature: bytes, manifest: Manifest, authority: bytes,
    on_progress: Progress | None,
) -> None:  # fmt: skip
    total = sum(manifest.files[name].bytes for name in LISTED)
    partial = home / "models" / f".{hashlib.sha256(content).hexdigest()[:16]}.partial"
    with storage_problems(partial):
        private_folder(partial)
    if short := shortage(partial, total + _ROOM):
        raise ServiceError(short)
    done = 0
    for name in sorted(LISTED):
        before = done

        def arrived(size: int, before: int = before) -> None:
            if on_progress is not None:
                on_progress(before + size, total)

        desk.file(name, partial / name, manifest, arrived)
        done += manifest.files[name].bytes
    write_atomically(partial / MANIFEST, content)
    write_atomically(partial / SIGNATURE, signature + b"\n")
    try:
        verify_folder(partial, authority)
        load_base(partial)
    except CheckpointError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    with storage_problems(target):
        private_folder(target.parent)
        if target.is_dir():
            target.rmdir()
        shutil.move(partial, target)


class _Desk:
    """The server's side of a published model, asked with this device's signature."""

    def __init__(self, home: Path, membership: Membership) -> None:
        self._key = DeviceKey.load(home)
        self._address = membership.server
        self._signer = CallSigner(lambda call: self._key.prove(b"", call))
        context = ssl.create_default_context(cafile=str(home / "ca.pem"))
        # No proxies from the environment: who answers is fixed by the certificate, and so is the way there.
        self._client = httpx.Client(verify=context, timeout=_SECONDS, trust_env=False)

    def __enter__(self) -> _Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def manifest(self) -> tuple[bytes, bytes]:
        """The manifest as it was signed, and its signature in base64. Raises :class:`ServiceError` if there is none."""
        answer = _json(self._patiently(MODEL_PATH, 2 * LARGEST_MANIFEST))
        manifest, signature = answer.get("manifest"), answer.get("signature")
        if manifest is None:
            over = "has finished" if answer.get("finished") is True else "goes on"
            raise ServiceError(
                f"the federation {over} and has published no model yet: ask its operator, who makes one with "
                "fedvoice serve publish"
            )
        if not isinstance(manifest, str) or not isinstance(signature, str):
            raise CheckpointError("the server described its model in another way: it runs another version")
        return manifest.encode(), signature.encode("ascii", "replace")

    def file(self, name: str, path: Path, manifest: Manifest, arrived: Callable[[int], None]) -> None:
        """Fetch what is still missing of a file, and check all of it; one that is wrong does not stay."""
        wanted = manifest.files[name].bytes
        with storage_problems(path), open(path, "ab", opener=private_opener) as file:
            if file.tell() > wanted:
                file.truncate(0)
            while (have := file.tell()) < wanted:
                arrived(have)
                part = self._patiently(f"{MODEL_PATH}/{name}?offset={have}", PIECE_BYTES)
                if not part or have + len(part) > wanted:
                    raise CheckpointError(
                        f"the server sent {have + len(part)} bytes of {name}, which has {wanted}: try again later"
                    )
                file.write(part)
            arrived(wanted)
        try:
            check_file(name, path.read_bytes(), manifest)
        except CheckpointError:
            path.unlink(missing_ok=True)
            raise

    def _patiently(self, target: str, most: int) -> bytes:
        """A request that is tried again with growing pauses where the network or the server fails."""
        pause = _FIRST_PAUSE
        for attempt in range(1, _TRIES + 1):
            try:
                return self._get(target, most)
            except (httpx.TransportError, _BusyError) as error:
                if shows_wrong_certificate(error):
                    raise ServiceError(
                        f"the server at {self._address} shows a certificate that its federation's authority did not "
                        "sign: nothing was asked of it"
                    ) from None
                if attempt == _TRIES:
                    raise ServiceError(
                        f"the server {self._address} cannot be reached ({error or type(error).__name__}): try again "
                        "later, what has arrived is kept"
                    ) from None
                time.sleep(pause)
                pause = min(2 * pause, _MOST_PAUSE)
        raise AssertionError  # the loop returns or raises

    def _get(self, target: str, most: int) -> bytes:
        request = self._client.build_request("GET", f"https://{self._address}{target}")
        request.headers[FLEET_HTTP_PUBLIC_KEY_HEADER] = base64.b64encode(
            self._key.public_pem.encode()
        ).decode()
        response = self._signer.intercept(
            SimpleNamespace(request=request), lambda context: self._client.send(context.request, stream=True)
        )
        try:
            body = _limited(response, most)
        finally:
            response.close()
        if response.is_success:
            return body
        reason = str(_json(body).get("error", f"status {response.status_code}"))[:300]
        if response.status_code in (429, 502, 503, 504):
            raise _BusyError(reason)
        skewed = clock_problem(response.headers.get("date", "")) if response.status_code == 401 else None
        raise ServiceError(
            skewed or f"the server refused this device ({response.status_code}): {shown(reason)}"
        )


class _BusyError(Exception):
    """The server asks to come again."""


def _limited(response: httpx.Response, most: int) -> bytes:
    body = bytearray()
    # As they come over the wire: what is compressed could be anything once it is not.
    for part in response.iter_raw():
        body += part
        if len(body) > most:
            raise CheckpointError(
                f"the server sent more than the {most} bytes that were asked for: nothing is used"
            )
    return bytes(body)


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ServiceError(
            "the server answered with something else than FedVoice does: is it another version?"
        )
    return found
