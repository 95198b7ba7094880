"""Signing in through an identity provider: a small one of its own, on loopback, signing with PyJWT."""

import json
import threading
import time
from base64 import urlsafe_b64encode
from contextlib import ExitStack
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from conftest import Server

CLIENT = "creto-console"
CLIENTS = ExitStack()


class Provider(ThreadingHTTPServer):
    """An OpenID provider for one person, who always agrees."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.keys = {
            "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
        }
        self.algorithm, self.claims, self.header = "RS256", {}, {}
        self.codes = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def jwks(self):
        keys = []
        for name, key in self.keys.items():
            form = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
            public = json.loads(form.to_jwk(key.public_key()))
            keys.append({**{k: v for k, v in public.items() if k != "key_ops"}, "kid": name, "use": "sig"})
        return {"keys": keys}

    def token(self, asked):
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": "248289761001", "nonce": asked["nonce"], "iat": now, "exp": now + 300,
            "preferred_username": "grace", "groups": ["approvers"],
        }
        claims.update(self.claims)
        headers = {"kid": self.algorithm, **self.header}
        return jwt.encode(claims, self.keys[self.algorithm], algorithm=self.algorithm, headers=headers)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path, provider = urlsplit(self.path), self.server
        if path.path == "/.well-known/openid-configuration":
            at = provider.issuer
            self.answer({"issuer": at, "authorization_endpoint": f"{at}/authorize", "token_endpoint": f"{at}/token", "jwks_uri": f"{at}/jwks"})
        elif path.path == "/jwks":
            self.answer(provider.jwks())
        elif path.path == "/authorize":
            asked = dict(parse_qsl(path.query))
            assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256" and "openid" in asked["scope"]
            code = f"code-{len(provider.codes)}"
            provider.codes[code] = asked
            self.send_response(302)
            self.send_header("location", f"{asked['redirect_uri']}?code={code}&state={asked['state']}")
            self.end_headers()

    def do_POST(self):
        form = {k: v[0] for k, v in parse_qs(self.rfile.read(int(self.headers["content-length"])).decode()).items()}
        asked = self.server.codes.pop(form["code"], None)
        verifier = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if asked is None or verifier != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return self.answer({"error": "invalid_grant"}, 400)
        return self.answer({"access_token": "x", "token_type": "Bearer", "id_token": self.server.token(asked)})

    def answer(self, body, status=200):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def provider():
    provider = Provider()
    yield provider
    provider.shutdown()
    provider.server_close()


@pytest.fixture(scope="module")
def server(binary, tmp_path_factory, provider):
    data = tmp_path_factory.mktemp("oidc") / "data"
    data.mkdir(mode=0o700)
    (data / "config.toml").write_text(
        f'outbound_allow = ["127.0.0.1:{provider.server_port}"]\n'
        f'[oidc]\nissuer = "{provider.issuer}"\nclient_id = "{CLIENT}"\napprovers = ["approvers"]\noperators = ["admins"]\n'
    )
    server = Server(binary, data)
    yield server
    CLIENTS.close()
    server.stop()


@pytest.fixture(autouse=True)
def as_usual(provider):
    provider.algorithm, provider.claims, provider.header = "RS256", {}, {}


def by_name(url):
    return url.replace("127.0.0.1", "localhost")


def to_callback(server, browser):
    """The browser's way to the provider and back, short of the last step."""
    away = browser.get(f"{by_name(server.url)}/v1/session/oidc")
    assert away.status_code == 303, away.text
    return browser.get(away.headers["location"]).headers["location"]


def sign_in(server, browser=None):
    browser = browser or CLIENTS.enter_context(httpx.Client())
    return browser, browser.get(to_callback(server, browser))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_member_of_the_group_signs_in_and_may_decide(server, provider, algorithm):
    provider.algorithm = algorithm
    browser, back = sign_in(server)
    assert back.status_code == 303, back.text
    assert back.headers["location"] == f"{by_name(server.url)}/"
    assert "HttpOnly; SameSite=Strict" in back.headers["set-cookie"]
    who = browser.get(f"{by_name(server.url)}/v1/session").json()
    assert who["identity"].endswith("/human/grace") and who["roles"] == "approver"


def test_roles_are_what_the_provider_says_now(server, provider):
    provider.claims = {"groups": ["admins"]}
    browser, _ = sign_in(server)
    assert browser.get(f"{by_name(server.url)}/v1/session").json()["roles"] == "operator+approver"
    provider.claims = {"groups": ["approvers"]}
    browser, _ = sign_in(server)
    assert browser.get(f"{by_name(server.url)}/v1/session").json()["roles"] == "approver"
    provider.claims = {"groups": ["others"]}
    assert sign_in(server)[1].json()["code"] == "app.sign_in_no_role"


def test_a_name_that_the_provider_gives_to_somebody_else_opens_nothing(server, provider):
    assert sign_in(server)[1].status_code == 303
    provider.claims = {"sub": "somebody else"}
    assert sign_in(server)[1].json()["code"] == "nhi.login_failed"
    provider.claims = {"preferred_username": "renamed"}
    browser, back = sign_in(server)
    assert back.status_code == 303 and browser.get(f"{by_name(server.url)}/v1/session").json()["identity"].endswith("/human/grace")
    server.operator.call("POST", "/v1/accounts", {"name": "local", "password": "correct horse battery"})
    provider.claims = {"sub": "new", "preferred_username": "local"}
    assert sign_in(server)[1].json()["code"] == "nhi.login_failed", "an account made here is nobody else's"


@pytest.mark.parametrize(
    "wrong",
    [{"iss": "https://elsewhere.example"}, {"aud": "another"}, {"nonce": "another"}, {"exp": 1}, {"iat": 1}, {"azp": "another"}, {"sub": ""}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_token_that_is_not_for_this_login_is_refused(server, provider, wrong):
    provider.claims = wrong
    assert sign_in(server)[1].json()["code"] == "app.sign_in_refused"


def test_a_token_by_another_key_is_refused_and_a_new_key_of_the_provider_is_found(server, provider):
    provider.header = {"kid": "unknown"}
    assert sign_in(server)[1].json()["code"] == "app.sign_in_refused"
    provider.header = {}
    provider.keys["RS256"] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert sign_in(server)[1].json()["code"] == "app.sign_in_refused", "the key of that name is another"
    provider.header, provider.algorithm = {"kid": "new"}, "ES256"
    provider.keys["new"] = provider.keys["ES256"]
    assert sign_in(server)[1].status_code == 303


def test_an_answer_counts_once_and_for_the_browser_that_asked(server):
    browser = CLIENTS.enter_context(httpx.Client())
    callback = to_callback(server, browser)
    assert httpx.get(callback).json()["code"] == "nhi.login_failed", "a browser that did not begin"
    victim, attacker = CLIENTS.enter_context(httpx.Client()), CLIENTS.enter_context(httpx.Client())
    to_callback(server, victim)
    lured = victim.get(to_callback(server, attacker))
    assert lured.json()["code"] == "nhi.login_failed", "nobody is signed in as somebody else by a link"
    callback = to_callback(server, browser)
    assert browser.get(callback).status_code == 303
    assert browser.get(callback).json()["code"] == "nhi.login_failed"


def test_a_suspended_person_does_not_get_in(server, provider):
    provider.claims = {"sub": "s", "preferred_username": "suspended"}
    assert sign_in(server)[1].status_code == 303
    server.operator.call("POST", "/v1/identities/human/suspended/suspend", {})
    assert sign_in(server)[1].json()["code"] == "nhi.identity_suspended"
