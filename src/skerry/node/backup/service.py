"""What backups declare: commands, the app's table, the console's page."""

from __future__ import annotations

from skerry.kernel.commands import Command, Nothing
from skerry.kernel.service import Page, Service
from skerry.node.backup import messages as m
from skerry.node.backup.plan import BackupConfig
from skerry.node.backup.report import Status

SERVICE = Service(
    name="backup",
    summary="Off-site backups, encrypted here, and proven by restores that are tried",
    commands=(
        Command("backup.to", "Say where backups go", m.To, m.Target, mutates=True),
        Command("backup.now", "Back up now", m.Now, list[m.SavedInfo], mutates=True),
        Command(
            "backup.status", "When was the last backup, the last proven restore", Nothing, Status
        ),
        Command(
            "backup.list",
            "List the backups in a store",
            m.Listing,
            list[m.BackupInfo],
            empty="No backups yet: skerry backup now",
        ),
        Command("backup.drill", "Try a restore, and sign what was found", m.DrillOf, m.Drills),
        Command("backup.schedule", "Say when, and how long kept", m.Schedule, m.Plan, mutates=True),
        Command("backup.key", "Show the recovery key, to be printed", m.KeyOf, m.KeyShown),
        Command("backup.check", "Read stored data and verify it", m.CheckOf, m.CheckedInfo),
        Command(
            "backup.restore",
            "Bring a past state back, beside the living one or onto a new machine",
            m.RestoreOf,
            m.RestoredInfo,
            mutates=True,
            offline="offline:restore",
        ),
    ),
    handler="handler:Backup",
    words={"restore": "backup.restore"},
    pages=(
        Page("/backup", "Backups", "page:view", "backup.html", live="_stores.html", menu="Backups"),
    ),
    config=BackupConfig,
    checks="page:checks",
)
