"""Exports of a whole app of which a part cannot be exported."""

from __future__ import annotations

import pytest

from skerry.app import kinds
from skerry.kernel.errors import ENGINE_FAILED, UNSUPPORTED, SkerryError
from skerry.testing.nodes import deploy, perform, running_node

NOTES = '[app]\nname = "reader"\n\n[kv.notes]\n'
EXTERNAL = '\n[postgres.db]\nexternal = true\ndsn_secret = "DSN"\nsecrets = ["DSN"]\n'


async def test_what_stays_elsewhere_is_left_out_of_the_export_of_an_app() -> None:
    found = kinds()
    told: list[str] = []
    async with running_node({name: found[name] for name in ("postgres", "kv")}) as node:
        await deploy(node, {"skerry.toml": NOTES})
        dsn = "postgresql://app:word@127.0.0.1:1/app"
        await perform(node, "secret.set", app="reader", name="DSN", value=dsn)
        await deploy(node, {"skerry.toml": NOTES + EXTERNAL})
        branch = node.catalogue.branch("reader", "main")

        export = await node.exports.export(
            branch, None, lambda _done, _total, text: told.append(text)
        )
        assert export.resources == ("notes",)
        assert any(text.startswith("db is left out: An external database") for text in told)
        with pytest.raises(SkerryError) as refused:
            await node.exports.export(branch, "db", lambda *_: None)
        assert refused.value.problem is UNSUPPORTED

        with pytest.raises(SkerryError) as failed:
            await perform(
                node, "postgres.sql", app="reader", branch="main", name="db", statement="select 1"
            )
        assert failed.value.problem is ENGINE_FAILED
        assert "cannot be reached" in failed.value.why
        assert "word" not in failed.value.why
