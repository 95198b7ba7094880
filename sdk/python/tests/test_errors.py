"""Every code the server knows has a class."""

from pathlib import Path

import pytest

import creto
from creto.errors import FAMILIES, from_answer

PAGES = Path(__file__).resolve().parents[3] / "docs" / "errors"


def test_every_documented_code_belongs_to_a_family():
    codes = [page.stem for page in PAGES.glob("*.md") if "." in page.stem]
    assert len(codes) > 50, "the pages are where this test looks for them"
    assert sorted({code.partition(".")[0] for code in codes} - FAMILIES.keys()) == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("gate.denied_by_human", creto.ApprovalDenied),
        ("gate.not_decided", creto.ApprovalTimeout),
        ("gate.denied", creto.GateError),
        ("metering.budget_exceeded", creto.BudgetExceeded),
        ("metering.rate_limited", creto.MeteringError),
        ("authz.no_permit", creto.AuthorizationError),
        ("nhi.link_revoked", creto.IdentityError),
        ("newer.family", creto.ServiceError),
    ],
)
def test_a_problem_becomes_the_class_of_its_code(code, kind):
    body = f'{{"type":"urn:creto:error:{code}","title":"t","status":403,"detail":"what happened","code":"{code}","hint":"do this"}}'
    error = from_answer(403, body.encode())
    assert type(error) is kind
    assert (error.code, error.detail, error.hint, error.status) == (code, "what happened", "do this", 403)
    assert "what happened" in str(error) and code in str(error) and "do this" in str(error)


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b"[]", b'{"code":7}', b"\xff\xfe"])
def test_an_answer_that_is_no_problem_did_not_come_from_the_server(body):
    error = from_answer(502, body)
    assert type(error) is creto.ProtocolError and "502" in error.detail


def test_everything_exported_exists_once():
    assert sorted(creto.__all__) == sorted(set(creto.__all__))
    assert all(hasattr(creto, name) for name in creto.__all__)
