"""Moving an app with one large resource from a node to another one."""

from __future__ import annotations

import os

import boto3
from harness import Options, Table, say, scratch

from node import Node, node

BLOCK_BYTES = 16 << 20
APP = {"skerry.toml": '[app]\nname = "shop"\n[policy]\njurisdiction = ["EU"]\n[bucket.media]\n'}


def move(options: Options) -> Table:
    """Move a bucket of random bytes, and say how fast, and how long the app stood still."""
    blocks = options.pick(4, 64)
    table = Table(("what is moved", "MB", "seconds", "MB/s", "still, seconds"))
    table.title = "An app moves to another node on the same machine and disk, by mutual TLS"
    say(f"moving {blocks * BLOCK_BYTES >> 20} MiB")
    with scratch("move") as top:
        homes = {name: top / name for name in ("rock", "holm")}
        for name, home in homes.items():
            home.mkdir()
            text = f'name = "{name}"\nowner = "{name} AB"\ncountry = "SE"\n'
            (home / "config.toml").write_text(f"{text}[ports]\nfederation = 0\n")
        with node(homes["rock"]) as one, node(homes["holm"]) as other:
            invited = one.call("federation.invite")
            other.call("federation.join", invitation=invited["invitation"])
            one.deploy(APP)
            _fill(one, blocks)
            placed = one.call("federation.place", app="shop", to="holm")
    size = (placed["first_bytes"] + placed["last_bytes"]) / 1e6
    seconds = placed["seconds"]
    name = f"a bucket with {blocks} objects of 16 MiB"
    table.add(name, size, seconds, size / seconds, placed["still_seconds"])
    return table


def _fill(one: Node, blocks: int) -> None:
    fields = one.connect("media", "shop")
    client = boto3.client(
        "s3",
        endpoint_url=fields["url"],
        aws_access_key_id=fields["access_key"],
        aws_secret_access_key=fields["secret_key"],
        region_name="eu-west-1",
    )
    for number in range(blocks):
        client.put_object(Bucket="media", Key=f"{number}", Body=os.urandom(BLOCK_BYTES))
    client.close()
