"""What the operator decided about backups: where to, when, how long kept, when drilled.

It lies with the stores' credentials in one file of the node that nobody else may read.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from skerry.kernel.errors import CONFIG_INVALID, CONFLICT
from skerry.node.backup.destination import Destination
from skerry.node.backup.plan import PRIMARY, SECOND, BackupConfig
from skerry.node.home import write_secret

FILE = "settings.json"


class Settings(msgspec.Struct, frozen=True):
    """Everything that is decided; `stores` holds the destinations by `primary` and `second`."""

    stores: dict[str, Destination] = {}
    plan: BackupConfig = BackupConfig()


class Keeper:
    """Reads and writes the settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = self._read()

    def _read(self) -> Settings:
        try:
            data = (self.folder / FILE).read_bytes()
        except FileNotFoundError:
            return Settings()
        try:
            return msgspec.json.decode(data, type=Settings)
        except msgspec.DecodeError as error:
            raise CONFIG_INVALID(f"{self.folder / FILE} cannot be read.", why=str(error)) from error

    def write(self, settings: Settings) -> None:
        """Keep settings, durable, and the engine's password files. Blocks."""
        write_secret(self.folder / FILE, msgspec.json.format(msgspec.json.encode(settings)))
        for name, store in settings.stores.items():
            self.write_password(name, store)
        self.settings = settings

    def write_password(self, name: str, store: Destination) -> Path:
        """Write the file from which the engine reads its password; return it. Blocks."""
        path = self.folder / f"{name}.key"
        write_secret(path, store.password.encode())
        return path

    def store(self, name: str) -> Destination:
        """Return a destination; raise CONFLICT with what to run if there is none."""
        found = self.settings.stores.get(name)
        if found is None:
            flag = " --second" if name == SECOND else ""
            raise CONFLICT(
                "It is not said where backups go."
                if name == PRIMARY
                else "There is no second store.",
                hint=f"skerry backup to s3://bucket/path --endpoint https://…{flag}",
            )
        return found
