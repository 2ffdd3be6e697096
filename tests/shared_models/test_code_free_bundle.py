"""The bundle holds no code, is the same everywhere, and nothing else passes for it."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest
from flwr.common.config import get_fab_config

from shared_models import bundle as bundles
from shared_models.bundle import PROTOCOL, bundle, bundle_hash, describe, refusal
from shared_models.errors import BundleError


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_flower_takes_it_for_a_bundle_and_it_holds_no_code() -> None:
    config = get_fab_config(bundle())
    assert config["project"]["name"] == "fedvoice-live"
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        assert archive.namelist() == ["pyproject.toml", ".info/CONTENT"]
        listed = archive.read(".info/CONTENT").decode().split(",")
        project = archive.read("pyproject.toml")
    assert listed == ["pyproject.toml", hashlib.sha256(project).hexdigest(), str(8 * len(project))]


def test_it_is_the_same_bytes_each_time() -> None:
    first = bundle()
    bundles.bundle.cache_clear()
    assert bundle() == first
    assert bundle_hash() == hashlib.sha256(first).hexdigest()
    assert refusal(first) is None


def test_another_version_is_refused_with_what_to_install() -> None:
    theirs = bundles._project("9.9.9", PROTOCOL).encode()
    told = refusal(_zip({"pyproject.toml": theirs}))
    assert told is not None
    assert "install fedvoice 9.9.9 in its place" in told


def test_code_beside_the_right_names_is_refused() -> None:
    version, protocol = describe(bundle())
    same = bundles._project(version, protocol).encode()
    told = refusal(_zip({"pyproject.toml": same, "client/app.py": b"import os"}))
    assert told is not None
    assert "not its bundle" in told


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a zip",
        _zip({}),
        _zip({"pyproject.toml": b"["}),
        _zip({"pyproject.toml": b"[tool]"}),
        b"x" * 100_000,
    ],
)
def test_what_is_no_bundle_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError):
        describe(content)
    assert refusal(content) is not None


def test_a_zip_bomb_is_not_unpacked() -> None:
    with pytest.raises(BundleError, match="many bytes"):
        describe(_zip({"pyproject.toml": b"#" * 10_000_000}))
