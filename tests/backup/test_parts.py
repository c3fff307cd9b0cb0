"""The parts of backups that need no node: keys, destinations, digests, plans, errors."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kernel.clock import NANOSECONDS
from skerry.kernel.errors import SkerryError
from skerry.node.backup import damage, digests, proof, recovery_key
from skerry.node.backup.destination import Destination, check
from skerry.node.backup.failures import explain
from skerry.node.backup.history import Failed, History, Proof, Saved, encode
from skerry.node.backup.index import Scope, parse_scope
from skerry.node.backup.messages import KeyShown
from skerry.node.backup.plan import BackupConfig, Keep, interval_seconds, is_due
from skerry.node.backup.report import report

DAY = 86_400 * NANOSECONDS
NOW = 20_000 * DAY + 10 * 3600 * NANOSECONDS

text = st.text(min_size=1, max_size=60)
destinations = st.builds(
    Destination, url=text, password=text, endpoint=text, access_key=text, secret_key=text
)


@given(st.lists(destinations, min_size=1, max_size=2))
def test_a_recovery_key_holds_all_that_is_needed(stores: list[Destination]) -> None:
    key = recovery_key.encode(stores)
    typed = key.lower().replace(" ", "\n") + " "
    for found, store in zip(recovery_key.decode(typed), stores, strict=True):
        assert found.environment() == store.environment()
        assert found.password == store.password


@pytest.mark.parametrize("page", [False, True])
def test_a_recovery_key_is_found_in_all_that_was_shown(page: bool) -> None:
    store = Destination("s3://box/x", "password", "https://s3.example")
    key = recovery_key.encode([store])
    code = recovery_key.svg(key) if page else recovery_key.picture(key)
    for made in (code, ""):
        shown = KeyShown(key, (store.url,), made, "No code is shown.", page).draw(80)
        (found,) = recovery_key.decode(shown)
        assert found.environment() == store.environment()
        assert found.password == store.password


@given(st.data())
def test_a_slip_in_a_recovery_key_is_found(data: st.DataObject) -> None:
    key = recovery_key.encode([Destination("s3://box/x", "password", "https://s3.example")])
    plain = key.replace(" ", "")
    at = data.draw(st.integers(0, len(plain) - 1))
    letter = data.draw(st.sampled_from(recovery_key._ALPHABET).filter(lambda e: e != plain[at]))
    with pytest.raises(SkerryError) as caught:
        recovery_key.decode(plain[:at] + letter + plain[at + 1 :])
    assert caught.value.code == "INVALID"


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader_of_keys(words: str) -> None:
    for each in (words, recovery_key.PREFIX + words):
        with pytest.raises(SkerryError):
            recovery_key.decode(each)


def test_a_key_can_be_printed_as_a_code() -> None:
    key = recovery_key.encode(
        [Destination("s3://box/x", "p" * 43, "https://s3.example", "", "k", "s")]
    )
    assert len(recovery_key.picture(key).splitlines()) > 15
    assert recovery_key.svg(key).startswith("<svg")


def s3(**changes: Any) -> Destination:
    given = {"endpoint": "https://s3.example", "access_key": "ak", "secret_key": "hidden"}
    return Destination(**{"url": "s3://box/a/b", "password": "secret", **given, **changes})


def test_destinations_as_the_engine_knows_them() -> None:
    assert check(s3()).repository == "s3:https://s3.example/box/a/b"
    assert s3(url="s3://box").repository == "s3:https://s3.example/box"
    assert s3().address == ("s3.example", 443)
    assert s3(endpoint="http://10.0.0.1:9000").address == ("10.0.0.1", 9000)
    local = check(Destination("/mnt/b", "p"))
    assert (local.kind, local.repository, local.address) == ("local", "/mnt/b", None)
    assert check(Destination("file:///mnt/b", "p")).repository == "/mnt/b"
    sftp = check(Destination("sftp://u@host:2222//srv/b", "p"))
    assert sftp.address == ("host", 2222)
    assert "-p 2222 -l u host -s sftp" in sftp.options(Path("known"))[-1]
    rest = check(Destination("rest:https://host:8000/", "p"))
    assert (rest.kind, rest.address) == ("rest", ("host", 8000))


def test_secrets_are_in_no_argument_and_no_repr() -> None:
    store = s3()
    assert "hidden" not in repr(store)
    assert "secret" not in repr(store)
    assert not {"hidden", "secret", "ak"} & set(store.options(Path("known")))
    assert "secret" not in store.environment().values()
    assert store.environment()["AWS_SECRET_ACCESS_KEY"] == "hidden"


@pytest.mark.parametrize(
    ("store", "words"),
    [
        (Destination("relative/path", "p"), "no destination"),
        (Destination("ftp://x/y", "p"), "no destination"),
        (s3(endpoint=""), "endpoint"),
        (s3(endpoint="s3.example"), "endpoint"),
        (s3(secret_key=""), "secret key"),
        (s3(url="s3:///x"), "no bucket"),
        (Destination("sftp://user:pw@host/x", "p"), "no password"),
        (Destination("sftp://host", "p"), "no host or no path"),
        (Destination("/mnt/b", "p", lock_days=3), "lock"),
    ],
)
def test_what_is_no_destination_is_refused(store: Destination, words: str) -> None:
    with pytest.raises(SkerryError, match=words):
        check(store)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Fatal: wrong password or no key found", "UNAUTHENTICATED"),
        ("Save(<data/1>) failed: write: no space left on device", "DISK_FULL"),
        ("Fatal: repository contains errors", "CORRUPT"),
        ("ciphertext verification failed", "CORRUPT"),
        ("dial tcp 10.0.0.1:443: connect: connection refused", "STORE_UNREACHABLE"),
        ("Fatal: unable to open config file: Stat: The specified key does not exist", "NOT_FOUND"),
        ("unable to create lock in backend: repository is already locked by PID 1", "BUSY"),
        ("Stat: Access Denied.", "UNAUTHENTICATED"),
        ("something nobody knows", "ENGINE_FAILED"),
    ],
)
def test_the_engines_words_become_errors(words: str, code: str) -> None:
    error = explain(f"opening repository\n{words}\n", "s3://box", "backing up")
    assert error.code == code
    assert words.removeprefix("Fatal: ") in error.why
    assert error.problem.temporary == (code in ("STORE_UNREACHABLE", "BUSY"))


def test_damaged_packs_are_named_in_full() -> None:
    full = "ab" * 32
    other = "cd" * 32
    said = (
        f"Pack ID does not match, want {full[:8]}, got 00112233\n"
        f"pack {other} contains 2 errors: [...]\nno errors were found in 9 others"
    )
    assert damage.packs(said, [full, other, "ef" * 32]) == sorted([full, other])


def test_digests_see_every_change_and_remember_what_is_the_same(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a").write_bytes(b"one")
    (tree / "sub" / "b").write_bytes(b"two")
    (tree / "link").symlink_to("a")
    os.mkfifo(tree / "pipe")
    memory = digests.Memory(tmp_path / "memory")
    seen: list[int] = []
    first = digests.of_tree(tree, memory, "t", seen.append)
    assert (first.files, first.bytes) == (3, 6)
    assert digests.of_tree(tree) == first
    assert digests.of_tree(tree, memory, "t") == first
    (tree / "a").write_bytes(b"ONE")
    changed = digests.of_tree(tree, memory, "t")
    assert changed.digest != first.digest
    assert changed == digests.of_tree(tree)
    (tree / "sub" / "b").rename(tree / "sub" / "c")
    assert digests.of_tree(tree, memory, "t").digest != changed.digest
    memory.close()
    (tmp_path / "memory").write_bytes(b"no database at all, and long enough to be looked at" * 99)
    memory = digests.Memory(tmp_path / "memory")
    assert digests.of_tree(tree, memory, "t") == digests.of_tree(tree)
    memory.close()


def test_scopes_cover_what_is_below_them() -> None:
    for scope in (Scope(), Scope("a"), Scope("a", "main"), Scope("a", "main", "db")):
        assert parse_scope(str(scope)) == scope
    assert Scope().holds("a", "main", "db")
    assert Scope("a", "main").holds("a", "main", "")
    assert not Scope("a", "main", "db").holds("a", "main", "")
    assert not Scope("a").covers("b", "main")
    for wrong in ("", "app", "app:", "apps:x", "app:a:b:c:d"):
        with pytest.raises(SkerryError):
            parse_scope(wrong)


def test_plans_are_checked_and_are_due() -> None:
    minute = datetime(2026, 11, 27, 10, 17, tzinfo=UTC)
    assert is_due("17 * * * *", minute)
    assert not is_due("18 * * * *", minute)
    assert not is_due("never", minute)
    assert interval_seconds("17 * * * *", minute) == 3600
    assert interval_seconds("never", minute) == 0
    assert BackupConfig(keep="3d").kept == Keep(all="3d")
    assert "--keep-within-weekly" in Keep().flags()
    assert "182d" in Keep().flags()
    many: list[dict[str, Any]] = [
        {"schedule": "x"}, {"keep": "2"}, {"keep_daily": "0d"}, {"drill": "61 * * * *"},
        {"wal_every_seconds": 3},
    ]  # fmt: skip
    for wrong in many:
        with pytest.raises(ValueError, match=r"schedule|keep|drill|wal_every_seconds"):
            BackupConfig(**wrong)


def saved(time: int, cut: int) -> Saved:
    return Saved("primary", "node", "s", cut, time, 1.0, 10, 10, 1)


def proven(time: int, ok: bool = True) -> Proof:
    problem = "" if ok else "CORRUPT: damaged"
    return Proof(
        node="n",
        store="primary",
        snapshot="s",
        scope="node",
        app="a",
        branch="main",
        cut=time,
        time=time,
        restore_seconds=2.0,
        start_seconds=1.5,
        files=1,
        bytes=10,
        digests={},
        counts={},
        ok=ok,
        problem=problem,
    )


def test_the_report_is_red_where_something_is_overdue() -> None:
    history = History()
    signer = proof.Signer(b"k" * 32)
    stores = {"primary": Destination("/mnt/b", "p", price=6.0)}
    plan = BackupConfig()

    def problems(now: int = NOW) -> str:
        return " ".join(report(stores, plan, history, {}, now, "EUR").stores[0].problems)

    assert not report({}, plan, history, {}, NOW, "EUR").ok
    assert "no backup yet" in problems()
    hour = 3600 * NANOSECONDS
    history.apply(encode(saved(NOW - 2 * hour + 30 * NANOSECONDS, NOW - 2 * hour)))
    history.apply(encode(saved(NOW - hour + 20 * NANOSECONDS, NOW - hour)))
    assert "No restore has been proven" in problems()
    history.apply(encode(signer.sign(proven(NOW - 5 * hour))))
    status = report(stores, plan, history, {}, NOW, "EUR")
    assert status.ok, status
    assert status.stores[0].rpo_seconds == 3620
    assert status.stores[0].rto_seconds == 3.5
    assert status.exit_code == 0
    assert "is overdue" in problems(NOW + 2 * DAY)
    assert "last backup is" in problems(NOW + 2 * DAY)
    failed = Failed("backup", "primary", "node", NOW, "DISK_FULL", "The store is full.")
    history.apply(encode(failed))
    assert "The store is full" in problems()
    history.apply(encode(saved(NOW + 1, NOW)))
    assert "The store is full" not in problems()
    history.apply(encode(signer.sign(proven(NOW, ok=False))))
    assert "CORRUPT" in problems()


def test_a_proof_that_was_edited_does_not_verify() -> None:
    signed = proof.Signer(b"k" * 32).sign(proven(NOW))
    proof.verify(signed)
    import msgspec

    better = msgspec.structs.replace(signed.proof, bytes=11)
    with pytest.raises(SkerryError, match="signature"):
        proof.verify(msgspec.structs.replace(signed, proof=better))
