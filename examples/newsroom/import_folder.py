"""Sends a folder of Markdown and pictures to a newsroom. It needs Python alone.

EDITOR_PASSWORD=… python import_folder.py ../../docs --section Handbook
EDITOR_PASSWORD=… python import_folder.py notes --to http://127.0.0.1:7878/@newsroom/pr-42/
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ENDINGS = {".md", ".markdown", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"}
SECONDS = 120


def pack(folder: Path) -> tuple[bytes, int]:
    """Return an archive of a folder, and how many files are in it; hidden files are left out."""
    buffer = io.BytesIO()
    count = 0
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            hidden = any(part.startswith(".") for part in name.parts)
            if path.is_file() and path.suffix.lower() in ENDINGS and not hidden:
                archive.add(path, arcname=f"import/{name.as_posix()}")
                count += 1
    return buffer.getvalue(), count


def send(archive: bytes, to: str, section: str, password: str) -> dict[str, object]:
    """Send an archive; return what the newsroom made of it. Raises urllib.error.URLError."""
    query = urllib.parse.urlencode({"section": section})
    if not to.startswith(("http://", "https://")):
        raise urllib.error.URLError("it does not begin with http:// or https://")
    request = urllib.request.Request(  # noqa: S310 - checked above
        f"{to.rstrip('/')}/editor/import?{query}",
        data=archive,
        headers={"authorization": f"Bearer {password}", "content-type": "application/gzip"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
        report: dict[str, object] = json.load(answer)
        return report


def main() -> int:
    """Carry out the command line."""
    parser = argparse.ArgumentParser(description="Send a folder of Markdown to a newsroom.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--to", default="http://127.0.0.1:7878/@newsroom/main/", metavar="URL")
    parser.add_argument("--section", default="", help="for pages that name none")
    said = parser.parse_args()
    password = os.environ.get("EDITOR_PASSWORD", "")
    if not said.folder.is_dir() or not password:
        parser.error("a folder is needed, and the password in the variable EDITOR_PASSWORD")
    archive, count = pack(said.folder)
    section = said.section or said.folder.resolve().name.replace("-", " ").capitalize()
    try:
        report = send(archive, said.to, section, password)
    except urllib.error.HTTPError as error:
        sys.stderr.write(f"{said.to} answered {error.code}: {error.read(2000).decode()}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{said.to} cannot be reached: {error}\n")
        return 1
    sys.stdout.write(
        f"{count} files sent: {report['articles']} articles, {report['pictures']} pictures.\n"
    )
    for line in report["skipped"] if isinstance(report["skipped"], list) else []:
        sys.stdout.write(f"skipped {line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
