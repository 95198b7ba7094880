"""Votes by passkey through the real server: an authenticator in software, a receipt that carries its assertion, and `creto oversight verify`."""

import copy
import hashlib
import json
import subprocess
from base64 import urlsafe_b64decode, urlsafe_b64encode

import httpx
import pytest
from conftest import Server
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PASSWORD = "correct horse battery staple"
CRITICAL = {"requirement": {"at_least": {"count": 1, "of": ["role:approver"]}}, "risk": "critical"}


def b64(raw):
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw(text):
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Authenticator:
    """One key (Web Authentication Level 2, section 6), which says yes to whatever its browser asks for this site."""

    def __init__(self, origin):
        self.key, self.count, self.origin = ec.generate_private_key(ec.SECP256R1()), 0, origin
        numbers = self.key.public_key().public_numbers()
        self.x, self.y = (number.to_bytes(32, "big") for number in (numbers.x, numbers.y))
        self.id = hashlib.sha256(self.x + self.y).digest()

    def client_data(self, kind, challenge):
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}).encode()

    def data(self, rp_id, flags):
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def make(self, asked):
        cose = b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20" + self.x + b"\x22\x58\x20" + self.y
        data = self.data(asked["rp_id"], 0x45) + bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cose
        attestation = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58" + bytes([len(data)]) + data
        return {"client_data": b64(self.client_data("webauthn.create", asked["challenge"])), "attestation": b64(attestation)}

    def use(self, asked):
        self.count += 1
        client, data = self.client_data("webauthn.get", asked["challenge"]), self.data(asked["rp_id"], 0x05)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return {
            "credential": b64(self.id),
            "client_data": b64(client),
            "authenticator_data": b64(data),
            "signature": b64(signature),
        }


class Person:
    """Somebody who signed in with a password."""

    def __init__(self, server, name, operator=False):
        server.operator.call("POST", "/v1/accounts", {"name": name, "password": PASSWORD, "operator": operator})
        self.http = httpx.Client(base_url=server.url)
        session = self.http.post("/v1/session", json={"name": name, "password": PASSWORD}).json()
        self.http.headers["x-csrf-token"] = session["csrf"]
        self.key = Authenticator(server.url.replace("127.0.0.1", "localhost"))

    def call(self, method, path, body):
        answer = self.http.request(method, path, json=body)
        return answer.status_code, answer.json()

    def question(self):
        return self.call("POST", "/v1/passkeys/options", {})[1]

    def register(self, key, proof=None):
        asked = self.question()
        return self.call("POST", "/v1/passkeys", {"label": "laptop", **key.make(asked), **(proof(asked) if proof else {})})

    def signs(self, request, digest, key=None, **what):
        """What a passkey gives that is asked to sign this action: to approve it, or to break its glass."""
        status, asked = self.call("POST", f"/v1/oversight/requests/{request}/passkey/options", {"digest": digest, **what})
        assert status == 200, asked
        return {"digest": digest, **(key or self.key).use(asked)}

    def approve(self, request, digest, key=None, **changed):
        signed = self.signs(request, digest, key)
        return self.call("POST", f"/v1/oversight/requests/{request}/passkey", {**signed, **changed})


@pytest.fixture(scope="module")
def server(binary, tmp_path_factory):
    server = Server(binary, tmp_path_factory.mktemp("passkeys") / "data")
    server.operator.call("PUT", "/v1/oversight/policies/require_approval", {"policy": CRITICAL})
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bob(server):
    bob = Person(server, "bob")
    assert bob.register(bob.key)[0] == 200
    yield bob
    bob.http.close()


def ask(server, amount):
    with server.agent() as agent:
        asked = agent.ask("tool.call_with_approval", "tool:wire", {"amount": amount}, wait=0)
    return asked.request, asked.digest


def verify(server, folder, receipt):
    """What `creto oversight verify` says, offline, with the log's public keys and nothing else."""
    (folder / "receipt.json").write_text(json.dumps(receipt))
    (folder / "keys.json").write_text(json.dumps(server.operator.call("GET", "/v1/audit/keys")))
    command = [server.binary, "--json", "oversight", "verify", str(folder / "receipt.json"), "--trust", str(folder / "keys.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"HOME": str(folder), "CRETO_DATA": str(folder / "none")})
    said = json.loads(done.stdout)
    assert (done.returncode == 0) == said["ok"], done
    return said


def test_hazard_17_where_very_much_is_at_stake_a_password_is_refused_and_a_passkey_decides(server, bob):
    request, digest = ask(server, 9000)
    for path, body in [("approve", {"digest": digest}), ("vote", {"choice": "approve", "digest": digest, "revision": 1})]:
        status, refused = bob.call("POST", f"/v1/oversight/requests/{request}/{path}", body)
        assert (status, refused["code"]) == (403, "oversight.stronger_proof_needed")
    key = server.key("approver")
    answer = httpx.post(
        f"{server.url}/v1/oversight/requests/{request}/approve", json={"digest": digest}, headers={"authorization": f"Bearer {key}"}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "oversight.stronger_proof_needed")
    stranger = Authenticator(bob.key.origin)
    status, refused = bob.approve(request, digest, stranger)
    assert (status, refused["code"]) == (404, "nhi.passkey_unknown")
    status, approved = bob.approve(request, digest, comment="by my own hand")
    assert (status, approved["state"]) == (200, "approved"), approved
    vote = approved["votes"][0]
    assert (vote["proof"]["method"], vote["comment"]) == ("passkey", "by my own hand")


def test_the_receipt_carries_the_assertion_and_verifies_offline_and_altered_it_does_not(server, bob, tmp_path):
    request, digest = ask(server, 9001)
    assert bob.approve(request, digest)[0] == 200
    receipt = server.operator.call("GET", f"/v1/oversight/requests/{request}/receipt")
    said = verify(server, tmp_path, receipt)
    assert said["ok"] and said["decision"]["risk"] == "critical", said
    evidence = json.loads(receipt["decision"]["votes"][0]["proof"]["evidence"])
    # Whoever reads the receipt can check the signature with any other library.
    client = raw(evidence["assertion"]["client_data"])
    assert raw(json.loads(client)["challenge"]) == hashlib.sha256(bytes.fromhex(digest) + raw(evidence["nonce"])).digest()
    signed = raw(evidence["assertion"]["authenticator_data"]) + hashlib.sha256(client).digest()
    bob.key.key.public_key().verify(raw(evidence["assertion"]["signature"]), signed, ec.ECDSA(hashes.SHA256()))

    def altered(change):
        other = copy.deepcopy(receipt)
        evidence = json.loads(other["decision"]["votes"][0]["proof"]["evidence"])
        change(evidence)
        other["decision"]["votes"][0]["proof"]["evidence"] = json.dumps(evidence)
        return other

    def flip(member):
        def change(evidence):
            part = bytearray(raw(evidence["assertion"][member]))
            part[-1] ^= 1
            evidence["assertion"][member] = b64(bytes(part))

        return change

    changes = [flip(member) for member in ("signature", "authenticator_data", "client_data")]
    changes += [lambda evidence: evidence.update(nonce=b64(bytes(32))), lambda evidence: evidence.update(origin="https://evil.example")]
    others = [altered(change) for change in changes]
    without = copy.deepcopy(receipt)
    without["decision"]["votes"][0]["proof"] = {"method": "session", "channel": "http"}
    for other in [*others, without]:
        refused = verify(server, tmp_path, other)
        assert not refused["ok"] and refused["code"] == "oversight.bad_receipt", refused


def test_a_critical_glass_is_broken_by_a_passkey_that_signed_the_breaking_and_the_receipt_proves_it(server, bob, tmp_path):
    olga = Person(server, "olga", operator=True)
    assert olga.register(olga.key)[0] == 200
    request, digest = ask(server, 9002)
    at = f"/v1/oversight/requests/{request}"
    why = {"reason": "the plant burns"}
    status, refused = olga.call("POST", f"{at}/break-glass", {"digest": digest, **why})
    assert (status, refused["code"]) == (403, "oversight.stronger_proof_needed")
    # What signed an approval breaks no glass, and what signed a breaking approves nothing.
    vote, breaking = olga.signs(request, digest), olga.signs(request, digest, signs="glass")
    for path, signed in [("break-glass/passkey", {**vote, **why}), ("passkey", breaking)]:
        status, refused = olga.call("POST", f"{at}/{path}", signed)
        assert refused["code"] == "nhi.passkey_refused", refused
    status, refused = bob.call("POST", f"{at}/break-glass/passkey", {**bob.signs(request, digest, signs="glass"), **why})
    assert (status, refused["code"]) == (403, "oversight.not_eligible"), refused
    status, broken = olga.call("POST", f"{at}/break-glass/passkey", {**olga.signs(request, digest, signs="glass"), **why})
    assert (status, broken["state"], broken["how"]) == (200, "approved", "passkey"), broken

    receipt = server.operator.call("GET", f"{at}/receipt")
    said = verify(server, tmp_path, receipt)
    assert said["ok"] and said["decision"]["glass"]["proof"]["method"] == "passkey", said
    evidence = json.loads(receipt["decision"]["glass"]["proof"]["evidence"])
    signed = hashlib.sha256(b"creto/break-glass/v1/" + bytes.fromhex(digest)).digest()
    challenge = json.loads(raw(evidence["assertion"]["client_data"]))["challenge"]
    assert raw(challenge) == hashlib.sha256(signed + raw(evidence["nonce"])).digest()
    without = copy.deepcopy(receipt)
    without["decision"]["glass"]["proof"] = {"method": "session", "channel": "http"}
    refused = verify(server, tmp_path, without)
    assert not refused["ok"] and refused["code"] == "oversight.bad_receipt", refused
    status, reviewed = bob.call("POST", f"{at}/review", {"justified": True, "comment": "it burned"})
    assert status == 200 and reviewed["glass"]["reviewed_by"].endswith("/human/bob"), reviewed
    # The receipt is of the decision: a review changes nothing of it.
    assert verify(server, tmp_path, server.operator.call("GET", f"{at}/receipt"))["ok"]
    olga.http.close()


def test_a_second_passkey_needs_the_first_and_so_does_a_removal(server):
    ada = Person(server, "ada")
    assert ada.register(ada.key)[0] == 200
    second, foreign = Authenticator(ada.key.origin), Authenticator(ada.key.origin)
    for proof in [None, lambda asked: {"proof": foreign.use(asked)}]:
        status, refused = ada.register(second, proof)
        assert (status, refused["code"]) == (403, "nhi.passkey_proof")
    assert ada.register(second, lambda asked: {"proof": ada.key.use(asked)})[0] == 200
    at = f"/v1/passkeys/{b64(second.id)}"
    assert ada.call("DELETE", at, {})[0] == 422
    assert ada.call("DELETE", at, {"proof": foreign.use(ada.question())})[1]["code"] == "nhi.passkey_proof"
    assert ada.call("DELETE", at, {"proof": second.use(ada.question())})[0] == 200
    assert len(ada.http.get("/v1/passkeys").json()["passkeys"]) == 1
    ada.http.close()
