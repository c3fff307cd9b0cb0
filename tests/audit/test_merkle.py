"""Trees, tiles and notes: against plain definitions, and against vectors of the specifications."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.kernel.errors import CORRUPT, INVALID, SkerryError
from skerry.node.audit import merkle, note, tiles


def plain_root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 6962, 2.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + plain_root(leaves[:split]) + plain_root(leaves[split:])).digest()


def grown(entries: list[bytes], cuts: list[int]) -> tuple[dict[str, bytes], tiles.Tiles]:
    """Write entries in batches that end at `cuts`, as the log does; return files and tree."""
    files: dict[str, bytes] = {}
    edge = tiles.Edge()
    for start, end in zip([0, *cuts], [*cuts, len(entries)], strict=True):
        files |= edge.add(entries[start:end])
        reopened = tiles.Tiles(files.get, edge.size)
        edge = tiles.Edge(edge.size, reopened)
    return files, tiles.Tiles(files.get, len(entries))


@settings(max_examples=60, deadline=None, database=None)
@given(st.integers(1, 1400), st.data())
def test_tiles_hold_the_tree(size: int, data: st.DataObject) -> None:
    entries = [b"entry %d" % number for number in range(size)]
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=4)))
    _, tree = grown(entries, cuts)
    root = plain_root(entries)
    assert merkle.tree_root(size, tree.subtree) == root
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, tree.subtree)
    leaf = merkle.leaf_hash(entries[index])
    assert merkle.verify_inclusion(leaf, index, size, proof, root)
    assert not merkle.verify_inclusion(merkle.leaf_hash(b"no"), index, size, proof, root)
    if size > 1:
        other = (index + 1) % size
        assert not merkle.verify_inclusion(leaf, other, size, proof, root)
        assert not merkle.verify_inclusion(leaf, index, size, proof[:-1], root)
    old = data.draw(st.integers(0, size))
    old_root = plain_root(entries[:old])
    steps = merkle.consistency_proof(old, size, tree.subtree)
    assert merkle.verify_consistency(old, size, steps, old_root, root)
    if 0 < old < size:
        assert not merkle.verify_consistency(old, size, steps, b"\0" * 32, root)
        assert not merkle.verify_consistency(old, size, steps, old_root, b"\0" * 32)
        assert not merkle.verify_consistency(old, size, steps[1:], old_root, root)
        edited = [*entries]
        edited[data.draw(st.integers(0, old - 1))] = b"edited"
        assert not merkle.verify_consistency(old, size, steps, plain_root(edited[:old]), root)


def test_a_tree_of_70000_has_the_tiles_that_the_specification_counts() -> None:
    edge = tiles.Edge()
    files = edge.add([b"%d" % number for number in range(70_000)])
    names = [name for name in files if name.startswith("tile/0/")]
    assert len([name for name in names if ".p/" not in name]) == 273
    assert "tile/0/273.p/112" in files
    assert "tile/1/000" in files
    assert len(files["tile/1/000"]) == 8192
    assert {"tile/1/001.p/17", "tile/2/000.p/1"} <= set(files)
    assert tiles.tile_path(3, 1234067) == "tile/3/x001/x234/067"


def test_bundles_are_cut_at_their_lengths() -> None:
    entries = [b"", b"a", b"b" * 65535]
    packed = tiles.pack_entries(entries)
    assert tiles.unpack_entries(packed) == entries
    for cut in (1, 3, 4, len(packed) - 1):
        with pytest.raises(SkerryError) as raised:
            tiles.unpack_entries(packed[:cut])
        assert raised.value.problem is CORRUPT
    with pytest.raises(SkerryError):
        tiles.pack_entries([b"x" * 65536])


SIGNATURE = (
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
)
EXAMPLE = f"This is an example message.\n\n\u2014 example.com/foo {SIGNATURE}\n"
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"


def test_the_example_of_the_specification_verifies() -> None:
    key = note.Verifier.parse(EXAMPLE_KEY)
    assert str(key) == EXAMPLE_KEY
    parsed = note.parse_note(EXAMPLE)
    assert str(parsed) == EXAMPLE
    assert parsed.verified([key]) == {key: 0}
    forged = note.parse_note(EXAMPLE.replace("example message", "Example message"))
    with pytest.raises(SkerryError) as raised:
        forged.verified([key])
    assert raised.value.problem is INVALID


def test_unknown_keys_are_passed_over_and_cosignatures_bind_their_time() -> None:
    log = note.Signer.make("skerry/a/1", b"1" * 32)
    witness = note.Signer.make("skerry/b/witness", b"2" * 32, note.COSIGNATURE)
    point = note.Checkpoint("skerry/a/1", 7, b"r" * 32)
    whole = point.text + "\n" + log.line(point.text) + witness.line(point.text, 1_795_000_000)
    parsed = note.parse_note(whole)
    assert note.Checkpoint.parse(parsed.text) == point
    assert parsed.verified([log.verifier]) == {log.verifier: 0}
    assert parsed.verified([witness.verifier]) == {witness.verifier: 1_795_000_000}
    stranger = note.Signer.make("skerry/b/witness", b"3" * 32, note.COSIGNATURE)
    assert parsed.verified([stranger.verifier]) == {}
    line = witness.line(point.text, 5)
    raw = bytearray(base64.b64decode(line.split()[2]))
    raw[11] ^= 1
    moved = line.replace(line.split()[2], base64.b64encode(raw).decode())
    with pytest.raises(SkerryError):
        note.parse_note(point.text + "\n" + moved).verified([witness.verifier])
    again = note.Verifier.parse(str(witness.verifier))
    assert again == witness.verifier
    assert isinstance(witness.key, Ed25519PrivateKey)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n\u2014 name\n",
        "text\n\n\u2014 name !!!!\n",
        "text\n\n- name AAAAAAAA\n",
        "text\n\n\u2014 name AAAAAA==\n",
        "text\n\n\u2014 name AAAAAAAA",
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(SkerryError) as raised:
        note.parse_note(text)
    assert raised.value.problem is INVALID


@pytest.mark.parametrize(
    "text", ["", "a\n", "a\n07\nAAAA\n", "a\n-1\nAAAA\n", f"a\n1\n{'A' * 40}\n", "\n1\nAAAA\n"]
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(SkerryError):
        note.Checkpoint.parse(text)


@pytest.mark.parametrize(
    "text", ["", "a", "a+b", "a+00000000+AAAA", "a b+530d903a+AekyeRrm", EXAMPLE_KEY[:-4]]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(SkerryError):
        note.Verifier.parse(text)
