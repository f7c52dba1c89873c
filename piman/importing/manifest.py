# -*- test-case-name: tests.test_importing_manifest -*-
"""
What is known of an imported image: ``NAME.json`` beside ``NAME.tgz``.

The manager reads images through ``images:`` in ``piman.yaml``, which is the operator's; a manifest only remembers
where an image came from.
"""

import json
from pathlib import Path
from typing import Any

import attrs
import yaml

from piman.importing.workfolder import write_durably

FORMAT = 1


@attrs.frozen(kw_only=True)
class Manifest:
    """An imported image."""

    name: str
    path: Path
    """The archive that nodes unpack; absolute."""
    size_bytes: int
    sha256: str
    source: str
    """The download's path, as it was given."""
    source_bytes: int
    imported_at: str
    """ISO 8601, UTC."""
    boot_folder: Path
    """The boot files that belong to it; absolute."""
    entries: int
    """Names in the archive."""
    content_bytes: int
    """The size of all files in it: what a card needs at least."""
    capabilities: tuple[str, ...] = ()
    """Files with capabilities."""
    notes: tuple[str, ...] = ()
    """What an operator should know of it."""

    @property
    def yaml_line(self) -> str:
        """What goes under ``images:`` in ``piman.yaml``."""
        pair = yaml.safe_dump({self.name: str(self.path)}, default_flow_style=True, width=1 << 16, allow_unicode=True)
        return "images: " + pair.strip()

    def to_json(self) -> str:
        """The content of the file; paths are relative to it, so that the folder can be moved."""
        told = attrs.asdict(self)
        told.update(format=FORMAT, path=self.path.name, boot_folder=self.boot_folder.name)
        return json.dumps(told, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, folder: Path) -> "Manifest":
        """
        Read the file.

        :param folder: where it lies.
        :raises ValueError: when it is not such a file.
        """
        told: Any = json.loads(text)
        if not isinstance(told, dict) or told.pop("format", None) != FORMAT:
            raise ValueError(f"no manifest of format {FORMAT}")
        fields = {field.name for field in attrs.fields(cls)}
        try:
            return cls(
                **{
                    **{key: value for key, value in told.items() if key in fields},
                    "path": folder / _plain(told["path"]),
                    "boot_folder": folder / _plain(told["boot_folder"]),
                    "capabilities": tuple(told.get("capabilities", ())),
                    "notes": tuple(told.get("notes", ())),
                }
            )
        except (KeyError, TypeError) as reason:
            raise ValueError(f"a manifest lacks something: {reason}") from reason


def _plain(name: object) -> str:
    if not isinstance(name, str) or "/" in name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no name of a file beside the manifest")
    return name


@attrs.frozen
class ImportedImage:
    """A manifest, and whether its archive is still what was imported."""

    manifest: Manifest
    problem: str = ""
    """Empty, or what is wrong: the file is missing, or has another size."""


def write_manifest(manifest: Manifest) -> None:
    """
    Put it beside its archive.

    :raises OSError: when that cannot be written.
    """
    text = manifest.to_json().encode("utf-8")
    write_durably(manifest.path.with_name(f"{manifest.name}.json"), lambda file: _write_all(file, text))


def _write_all(file: Any, text: bytes) -> None:
    file.write(text)


def imported_images(folder: Path) -> tuple[ImportedImage, ...]:
    """
    All images that were imported into a folder, by name; files that are no manifests are passed over.

    :raises OSError: when the folder cannot be read; one that does not exist holds none.
    """
    if not folder.exists():
        return ()
    found = []
    for path in sorted(folder.absolute().glob("*.json")):
        try:
            manifest = Manifest.from_json(path.read_text("utf-8"), path.parent)
        except (ValueError, OSError):
            continue
        found.append(ImportedImage(manifest, _problem(manifest)))
    return tuple(found)


def _problem(manifest: Manifest) -> str:
    try:
        size = manifest.path.stat().st_size
    except OSError as reason:
        return f"{manifest.path} cannot be read: {reason.strerror}"
    if size != manifest.size_bytes:
        return f"{manifest.path} has {size} bytes, not {manifest.size_bytes}: it was changed after the import"
    return ""
