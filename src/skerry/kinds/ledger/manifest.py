"""What the kind `ledger` declares."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skerry.kernel.manifest import (
    YES,
    Client,
    EngineInfo,
    Manifest,
    Remote,
    Unit,
    Verb,
    Wire,
    Word,
)


def _about(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


Number = str
"""A number up to 128 bits, as decimal text: JSON and shells have none so wide."""


class LedgerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a ledger.

    `machine`: `compiled` needs numba, `plain` needs nothing, `auto` takes the compiled one where
    numba is installed and the ledger is busy enough for it.
    """

    machine: str = "auto"
    retention: Annotated[
        str,
        msgspec.Meta(
            description="How far back `branch create --at` reaches, e.g. `7d`; `0`: not at all.",
            pattern=r"^(0|(\d+(\.\d+)?(ms|s|m|h|d))+)$",
        ),
    ] = "1d"


class AccountsParams(msgspec.Struct, frozen=True):
    """Which accounts; what is not set does not filter. `id`: just these, separated by commas."""

    id: Annotated[str, _about("just these ids, separated by commas")] = ""
    ledger: Annotated[int, _about("those of one ledger")] = 0
    code: Annotated[int, _about("those of one code")] = 0
    user_data_128: Number = "0"
    user_data_64: Number = "0"
    user_data_32: int = 0
    since: Annotated[Number, _about("from this timestamp on")] = "0"
    until: Annotated[Number, _about("up to this timestamp")] = "0"
    limit: int = 100
    reversed: Annotated[bool, _about("the newest first")] = False


class TransfersParams(AccountsParams, frozen=True):
    """Which transfers; `account`: those that debit or credit it."""

    account: Annotated[Number, _about("those that debit or credit an account")] = ""


class BalancesParams(msgspec.Struct, frozen=True):
    """The account; it keeps a history if it was opened with the flag `history`."""

    account: Number
    since: Annotated[Number, _about("from this timestamp on")] = "0"
    until: Annotated[Number, _about("up to this timestamp")] = "0"
    limit: int = 100
    reversed: Annotated[bool, _about("the newest first")] = False


class OpenParams(msgspec.Struct, frozen=True):
    """An account to create; `flags` are names, separated by commas."""

    account: Number
    ledger: int
    code: int = 1
    flags: str = ""
    user_data_128: Number = "0"
    user_data_64: Number = "0"
    user_data_32: int = 0


class TransferParams(msgspec.Struct, frozen=True):
    """A transfer to create; without an `id`, a new one is made."""

    debit: Annotated[Number, _about("the account that is debited")] = "0"
    credit: Annotated[Number, _about("the account that is credited")] = "0"
    amount: Number = "0"
    ledger: int = 0
    code: int = 1
    id: Number = ""
    pending_id: Number = "0"
    flags: Annotated[str, _about("names, separated by commas, such as pending")] = ""
    timeout: Annotated[int, _about("seconds after which a pending transfer expires")] = 0
    user_data_128: Number = "0"
    user_data_64: Number = "0"
    user_data_32: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """What became of an account or a transfer."""

    id: Number
    status: str
    timestamp: Number


Row = dict[str, Any]

MANIFEST = Manifest(
    name="ledger",
    summary="Double-entry accounts and transfers, in TigerBeetle's model.",
    stands_in_for="TigerBeetle",
    engine_info=EngineInfo(name="Skerry ledger", version="1"),
    engine="engine:LedgerEngine",
    subject="subject:LedgerSubject",
    replicates=YES,
    replica="replica:StateReplica",
    can={
        Verb.BRANCH: YES,
        Verb.BRANCH_AT: YES,
        Verb.SLEEP: YES,
        Verb.PLACE: YES,
        Verb.METER: YES,
        Verb.BACKUP: YES,
        Verb.BIND: YES,
        Verb.EXPORT: YES,
        Verb.IMPORT: YES,
    },
    wires=(
        Wire(
            name="rest",
            protocol="HTTP and JSON",
            summary="Accounts and transfers as JSON.",
            application="wire:make",
            claim="address:claim",
            connection="address:connection",
            clients=(
                Client(
                    name="curl",
                    language="shell",
                    line='curl -H "Authorization: Bearer {token}" {url}/accounts',
                ),
            ),
        ),
        Wire(
            name="tigerbeetle",
            protocol="TigerBeetle's client protocol, 0.17",
            summary="What TigerBeetle's own clients speak.",
            front="tiger.front:TigerFront",
            port=3003,
            connection="address:connection",
            clients=(
                Client(
                    name="tigerbeetle",
                    language="Python",
                    line="tigerbeetle.ClientSync(cluster_id={cluster_id}, "
                    'replica_addresses="{host}:{port}")',
                ),
                Client(
                    name="tigerbeetle-node",
                    language="JavaScript",
                    line="createClient({{ cluster_id: {cluster_id}n, "
                    'replica_addresses: ["{host}:{port}"] }})',
                ),
            ),
        ),
    ),
    binding="binding:bind",
    remote=Remote("remote:bind", wire="rest"),
    config=LedgerConfig,
    units=(
        Unit("accounts", "Accounts that were asked to be created."),
        Unit("transfers", "Transfers that were asked to be created."),
        Unit("lookups", "Ids and filters that were asked for."),
        Unit("bytes_written", "Bytes of requests that were made durable."),
    ),
    words=(
        Word("accounts", "List accounts.", AccountsParams, list[Row], "read"),
        Word("transfers", "List transfers.", TransfersParams, list[Row], "read"),
        Word("balances", "Show an account's balances.", BalancesParams, list[Row], "read"),
        Word("open", "Create an account.", OpenParams, Outcome, "write", mutates=True),
        Word("transfer", "Create a transfer.", TransferParams, Outcome, "write", mutates=True),
    ),
    actions=("read", "write"),
    immutable=("sealed", "rows"),
    checks="checks:checks",
    package=__package__ or "",
)
