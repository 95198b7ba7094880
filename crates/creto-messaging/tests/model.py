#!/usr/bin/env python3
"""An independent model of suite 1, written from the Signal specifications (X3DH, PQXDH, Double Ratchet with header encryption) and this
crate's documented formats, sharing no code with it. It re-seals every envelope of vectors/s1.json and must get the same bytes, opens
each at the other side, and checks every signature.

    pip install cryptography kyber-py && python3 tests/model.py
"""

import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from kyber_py.ml_kem import ML_KEM_768

SIGNING, SIGNATURE, KEM_PUBLIC, KEM_CIPHERTEXT = 1984, 3373, 1184, 1088
KINDS = {
    1: "creto-messaging/v1/prekey/agreement-signed",
    2: "creto-messaging/v1/prekey/agreement-once",
    3: "creto-messaging/v1/prekey/kem-last-resort",
    4: "creto-messaging/v1/prekey/kem-once",
}


def hkdf(salt, ikm, info, length):
    prk, out, block = hmac.digest(salt, ikm, "sha256"), b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        out += block
    return out[:length]


def public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def dh(secret, share):
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(share))


def verify(key, domain, message, signature):
    parts = [b"creto-sig-v1", b"ed25519+ml-dsa-65", domain.encode(), message]
    signed = b"".join(struct.pack(">Q", len(part)) + part for part in parts)
    Ed25519PublicKey.from_public_bytes(key[:32]).verify(signature[:64], signed)
    MLDSA65PublicKey.from_public_bytes(key[32:]).verify(signature[64:], signed)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert self.at + count <= len(self.data), "truncated"
        self.at += count
        return self.data[self.at - count : self.at]

    def u8(self):
        return self.take(1)[0]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def var(self):
        return self.take(self.u32())

    def optional(self, read):
        flag = self.u8()
        assert flag in (0, 1)
        return read() if flag else None

    def finish(self):
        assert self.at == len(self.data), "trailing bytes"


def var(data):
    return struct.pack(">I", len(data)) + data


class Statement:
    def __init__(self, reader):
        start = reader.at
        assert (reader.u8(), reader.u8()) == (1, 1)
        self.nhi, self.device = reader.var(), reader.take(16)
        self.signing, self.agreement, self.not_after = reader.take(SIGNING), reader.take(32), reader.take(8)
        unsigned = reader.data[start : reader.at]
        verify(self.signing, "creto-messaging/v1/identity-statement", unsigned, reader.take(SIGNATURE))
        self.bytes = reader.data[start : reader.at]


class Prekey:
    def __init__(self, reader, statement, kind):
        self.kind, self.id, not_after = reader.u8(), reader.u32(), reader.take(8)
        assert self.kind == kind
        self.public = reader.take(32 if kind < 3 else KEM_PUBLIC)
        signed = b"\1\1" + var(statement.nhi) + statement.device + bytes([kind]) + struct.pack(">I", self.id) + not_after + self.public
        verify(statement.signing, KINDS[kind], signed, reader.take(SIGNATURE))


class Bundle:
    def __init__(self, data):
        reader = Reader(data)
        assert reader.u8() == 1
        self.statement = Statement(reader)
        self.signed, self.last_resort = Prekey(reader, self.statement, 1), Prekey(reader, self.statement, 3)
        self.once = reader.optional(lambda: Prekey(reader, self.statement, 2))
        self.kem_once = reader.optional(lambda: Prekey(reader, self.statement, 4))
        reader.finish()
        self.kem = self.kem_once or self.last_resort


class Secrets:
    """The identity and prekeys at the start of an agent's records; what follows is empty in the vectors."""

    def __init__(self, data):
        reader = Reader(data)
        assert (reader.u8(), reader.u8()) == (1, 1)
        self.statement, self.agreement, _signing = Statement(reader), reader.take(32), reader.var()
        assert public(self.agreement) == self.statement.agreement
        reader.u32()
        self.prekeys = {}
        for _ in range(reader.u32()):
            name = (reader.u8(), reader.u32())
            reader.take(8)
            self.prekeys[name] = reader.var()


class Stream:
    def __init__(self, seed):
        self.seed, self.counter = seed, 0

    def take(self, count):
        assert count <= 32
        block = hashlib.sha256(struct.pack(">QQ", self.seed, self.counter)).digest()
        self.counter += 1
        return block[:count]


def named(prekeys):
    signed, once, kem_kind, kem = prekeys
    once = b"\0" if once is None else b"\1" + struct.pack(">I", once)
    return struct.pack(">I", signed) + once + bytes([kem_kind]) + struct.pack(">I", kem)


def transcript(accountable, initiator, responder, ephemeral, prekeys, signed, once, kem, ciphertext, authorization):
    out = var(b"creto-messaging/v1/transcript") + b"\1" + struct.pack(">I", 1) + b"\1" + (b"\1" if accountable else b"\2")
    out += var(b"initiator") + var(initiator) + var(b"responder") + var(responder) + ephemeral + named(prekeys) + var(signed)
    out += b"\0" if once is None else b"\1" + var(once)
    return hashlib.sha256(out + var(kem) + var(ciphertext) + authorization).digest()


def derive(agreed, digest):
    out = hkdf(bytes(32), b"\xff" * 32 + b"".join(agreed), b"creto-messaging/v1/handshake\1" + digest, 128)
    return out[:32], out[32:64], out[64:96], out[96:112], out[112:]


def root_step(root, own, remote):
    out = hkdf(root, dh(own, remote), b"creto-messaging/v1/root\1", 96)
    return out[:32], out[32:64], out[64:]


def padded_length(length):
    length += 1
    if length <= 64:
        return 64
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


class Side:
    """One end of a session: the Double Ratchet with header encryption, stepping when it sends."""

    def __init__(self, initiator, digest, derived, own, remote):
        root, header_i, header_r, route_i, route_r = derived
        self.initiator, self.digest, self.root, self.own, self.remote = initiator, digest, root, own, remote
        self.sending = self.receiving = None
        self.previous, self.due, self.opening = 0, not initiator, None
        self.next_send, self.next_receive = (header_i, header_r) if initiator else (header_r, header_i)
        self.route_out, self.route_in = (route_i, route_r) if initiator else (route_r, route_i)

    def step_sending(self, own):
        self.root, chain, following = root_step(self.root, own, self.remote)
        self.previous = self.sending[2] if self.sending else 0
        self.sending, self.next_send = [chain, self.next_send, 0], following
        self.own, self.due = own, False

    def keys(self, chain_key, salt, header, outgoing):
        message_key = hmac.digest(chain_key, b"\1", "sha256")
        direction = 0 if self.initiator == outgoing else 1
        info = b"creto-messaging/v1/message\1" + self.digest + bytes([direction]) + header
        out = hkdf(salt, message_key, info, 64)
        return out[:32], out[32:]

    def seal(self, clear, text, entropy):
        if self.due:
            self.step_sending(entropy.take(32))
        salt = entropy.take(16)
        chain, header_chain, number = self.sending
        header = public(self.own) + struct.pack(">II", self.previous, number)
        key, commitment = self.keys(chain, salt, header, True)
        self.sending = [hmac.digest(chain, b"\2", "sha256"), header_chain, number + 1]
        prefix = clear + (b"\0" if self.opening is None else b"\1" + self.opening) + self.route_out + salt + commitment
        padded = (text + b"\x80").ljust(padded_length(len(text)), b"\0")
        body = AESGCM(key).encrypt(bytes(12), padded, b"creto-messaging/v1/body" + self.digest + header + prefix)
        before = prefix + var(body)
        header_key = hmac.digest(header_chain, b"creto-messaging/v1/header" + salt, "sha256")
        return before + AESGCM(header_key).encrypt(bytes(12), header, before)

    def open(self, envelope):
        prefix_end, body_end = envelope["prefix"], envelope["body"]
        data, salt, commitment = envelope["bytes"], envelope["salt"], envelope["commitment"]
        assert envelope["route"] == self.route_in

        def header_under(chain):
            key = hmac.digest(chain, b"creto-messaging/v1/header" + salt, "sha256")
            try:
                return AESGCM(key).decrypt(bytes(12), data[body_end:], data[:body_end])
            except Exception:
                return None

        header = self.receiving and header_under(self.receiving[1])
        if not header:
            header = header_under(self.next_receive)
            assert header, "no header key opens it"
            self.root, chain, following = root_step(self.root, self.own, header[:32])
            self.receiving, self.next_receive = [chain, self.next_receive, 0], following
            self.remote, self.due = header[:32], True
        chain, header_chain, number = self.receiving
        assert struct.unpack(">I", header[36:])[0] == number, "the vectors arrive in order"
        key, expected = self.keys(chain, salt, header, False)
        assert commitment == expected
        self.receiving = [hmac.digest(chain, b"\2", "sha256"), header_chain, number + 1]
        self.opening = None
        aad = b"creto-messaging/v1/body" + self.digest + header + data[:prefix_end]
        padded = AESGCM(key).decrypt(bytes(12), data[prefix_end + 4 : body_end], aad)
        text = padded.rstrip(b"\0")
        assert text.endswith(b"\x80") and len(padded) == padded_length(len(text) - 1)
        return text[:-1]


def parse_authorization(reader):
    start = reader.at
    reader.take(64)
    reader.var()
    reader.take(8)
    return reader.data[start : reader.at]


def parse_envelope(data):
    reader = Reader(data)
    assert (reader.u8(), reader.u8()) == (1, 1)
    reader.take(16)
    sender, recipient, _ = reader.var(), reader.var(), parse_authorization(reader)
    clear_end = reader.at

    def opening():
        start = reader.at
        out = {"statement": Statement(reader), "ephemeral": reader.take(32)}
        signed, once = reader.u32(), reader.optional(reader.u32)
        out["prekeys"] = (signed, once, reader.u8(), reader.u32())
        out["ciphertext"], out["authorization"] = reader.take(KEM_CIPHERTEXT), parse_authorization(reader)
        out["signature"] = reader.optional(lambda: reader.take(SIGNATURE))
        out["bytes"] = data[start : reader.at]
        return out

    out = {"bytes": data, "sender": sender, "recipient": recipient, "clear": data[:clear_end], "opening": reader.optional(opening)}
    out["route"], out["salt"], out["commitment"] = reader.take(16), reader.take(16), reader.take(32)
    out["prefix"] = reader.at
    reader.var()
    out["body"] = reader.at
    reader.take(56)
    reader.finish()
    return out


def initiate(alice, bundle, opening, ciphertext, shared, entropy):
    ephemeral = entropy.take(32)
    agreed = [dh(alice.agreement, bundle.signed.public), dh(ephemeral, bundle.statement.agreement), dh(ephemeral, bundle.signed.public)]
    agreed += [dh(ephemeral, bundle.once.public)] if bundle.once else []
    prekeys = (bundle.signed.id, bundle.once.id if bundle.once else None, bundle.kem.kind, bundle.kem.id)
    authorization, once = opening["authorization"], bundle.once.public if bundle.once else None
    statements = (alice.statement.bytes, bundle.statement.bytes)
    share = public(ephemeral)
    digest = transcript(False, *statements, share, prekeys, bundle.signed.public, once, bundle.kem.public, ciphertext, authorization)
    side = Side(True, digest, derive(agreed + [shared], digest), None, bundle.signed.public)
    side.step_sending(entropy.take(32))
    side.opening = alice.statement.bytes + share + named(prekeys) + ciphertext + authorization + b"\0"
    return side


def accept(bob, opening):
    signed_id, once_id, kem_kind, kem_id = opening["prekeys"]
    signed, kem = bob.prekeys[(1, signed_id)], bob.prekeys[(kem_kind, kem_id)]
    once = None if once_id is None else bob.prekeys[(2, once_id)]
    peer, share = opening["statement"], opening["ephemeral"]
    shared = ML_KEM_768.decaps(kem, opening["ciphertext"])
    agreed = [dh(signed, peer.agreement), dh(bob.agreement, share), dh(signed, share)]
    agreed += [dh(once, share)] if once else []
    kem_public = kem[1152 : 1152 + KEM_PUBLIC]
    once_public = None if once is None else public(once)
    statements, accountable = (peer.bytes, bob.statement.bytes), opening["signature"] is not None
    rest = (share, opening["prekeys"], public(signed), once_public, kem_public, opening["ciphertext"], opening["authorization"])
    digest = transcript(accountable, *statements, *rest)
    if accountable:
        verify(peer.signing, "creto-messaging/v1/accountable-opening", digest, opening["signature"])
    return Side(False, digest, derive(agreed + [shared], digest), signed, None)


def main():
    path = pathlib.Path(__file__).parent / "vectors" / "s1.json"
    vectors = json.loads(path.read_text())
    unhex = bytes.fromhex
    alice, bob, bundle = Secrets(unhex(vectors["alice_records"])), Secrets(unhex(vectors["bob_records"])), Bundle(unhex(vectors["bundle"]))
    envelopes = [parse_envelope(unhex(turn["envelope"])) for turn in vectors["turns"]]
    entropy, opening = Stream(0xC4E70), envelopes[0]["opening"]
    sides = {"alice": initiate(alice, bundle, opening, unhex(vectors["kem"]["ciphertext"]), unhex(vectors["kem"]["secret"]), entropy)}
    sides["bob"] = accept(bob, opening)
    assert sides["alice"].digest == sides["bob"].digest == unhex(vectors["session"])
    for turn, envelope in zip(vectors["turns"], envelopes):
        sender, receiver = (sides["alice"], sides["bob"]) if turn["from"] == "alice" else (sides["bob"], sides["alice"])
        text = unhex(turn["text"])
        assert sender.seal(envelope["clear"], text, entropy) == envelope["bytes"], "the model seals other bytes"
        assert receiver.open(envelope) == text
    accountable = parse_envelope(unhex(vectors["accountable"]["envelope"]))
    assert accountable["opening"]["signature"] is not None
    assert accept(bob, accountable["opening"]).open(accountable) == unhex(vectors["accountable"]["text"])
    print(f"{len(envelopes)} envelopes re-sealed to the same bytes and opened; 1 signed opening accepted")


if __name__ == "__main__":
    sys.exit(main())
