"""
What is remembered of imported images.
"""

import json
from pathlib import Path

import attrs
import yaml
from twisted.trial.unittest import SynchronousTestCase

from piman.importing.manifest import Manifest, imported_images, write_manifest


class ManifestTests(SynchronousTestCase):
    """NAME.json beside NAME.tgz."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.manifest = Manifest(
            name="lite",
            path=self.folder / "lite.tgz",
            size_bytes=4,
            sha256="9f" * 32,
            source="/home/pi/2024-11-19-raspios-größe.img.xz",
            source_bytes=99,
            imported_at="2026-11-24T12:00:00+00:00",
            boot_folder=self.folder / "lite.boot",
            entries=3,
            content_bytes=5,
            capabilities=("/usr/bin/ping",),
            notes=("a note",),
        )
        self.manifest.path.write_bytes(b"data")

    def test_written_and_read(self) -> None:
        """What was written is found, by name."""
        other = attrs.evolve(
            self.manifest, name="a.b", path=self.folder / "a.b.tgz", boot_folder=self.folder / "a.b.boot"
        )
        other.path.write_bytes(b"data")
        for manifest in (self.manifest, other):
            write_manifest(manifest)
        found = imported_images(self.folder)
        self.assertEqual([(image.manifest, image.problem) for image in found], [(other, ""), (self.manifest, "")])

    def test_moved_folder(self) -> None:
        """The folder can be moved with all that is in it."""
        write_manifest(self.manifest)
        moved = self.folder.rename(self.folder.with_name("moved"))
        found = imported_images(moved)[0]
        self.assertEqual((found.manifest.path, found.problem), (moved / "lite.tgz", ""))

    def test_changed_archive(self) -> None:
        """An archive that is gone, or has another size, is told."""
        write_manifest(self.manifest)
        self.manifest.path.write_bytes(b"other data")
        self.assertIn("changed after the import", imported_images(self.folder)[0].problem)
        self.manifest.path.unlink()
        self.assertIn("No such file", imported_images(self.folder)[0].problem)

    def test_other_files(self) -> None:
        """Files that are no manifests, or would lead out of the folder, are passed over."""
        told = json.loads(self.manifest.to_json())
        for number, value in enumerate(
            (
                [],
                {},
                {**told, "format": 2},
                {**told, "path": "../lite.tgz"},
                {**told, "path": None},
                {key: told[key] for key in told if key != "sha256"},
            )
        ):
            (self.folder / f"{number}.json").write_text(json.dumps(value))
        (self.folder / "text.json").write_bytes(b"\xff{")
        self.assertEqual(imported_images(self.folder), ())

    def test_no_folder(self) -> None:
        """A folder that was never made holds none."""
        self.assertEqual(imported_images(self.folder / "none"), ())

    def test_line_for_the_configuration(self) -> None:
        """The line to add is YAML, whatever the path holds."""
        for path in ("/srv/a b/x.tgz", "/srv/a: {b}, #c.tgz", "/srv/'\"ä.tgz", "/" + "long/" * 100 + "x.tgz"):
            manifest = attrs.evolve(self.manifest, name="1.0", path=Path(path))
            self.assertEqual(yaml.safe_load(manifest.yaml_line), {"images": {"1.0": path}})
            self.assertNotIn("\n", manifest.yaml_line)
