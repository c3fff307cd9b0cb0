"""Cedar in a file of the app's folder, read into the terms when the app is deployed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skerry.kernel.app import AppSpec
from skerry.kernel.errors import CONFIG_INVALID
from skerry.kernel.terms import CEDAR_LENGTH_MAX


def with_cedar(spec: AppSpec, folder: Path) -> AppSpec:
    """Return the app with the text of its `cedar_file` in its terms.

    Raises CONFIG_INVALID if the file is not there, leads out of the folder, or is too long.
    """
    name = spec.policy.cedar_file
    if not name:
        return spec
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise CONFIG_INVALID(
            f"skerry.toml: policy.cedar_file: there is no file {name} in the app's folder.",
            hint="skerry docs app",
        )
    with path.open("rb") as file:
        data = file.read(CEDAR_LENGTH_MAX + 1)
    if len(data) > CEDAR_LENGTH_MAX:
        raise CONFIG_INVALID(f"{name} has more than {CEDAR_LENGTH_MAX} bytes.")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CONFIG_INVALID(f"{name} is not UTF-8.", why=str(error)) from error
    if not text.strip():
        raise CONFIG_INVALID(f"{name} says nothing.")
    policy = msgspec.structs.replace(spec.policy, cedar=text, cedar_file="")
    return msgspec.structs.replace(spec, policy=policy)
