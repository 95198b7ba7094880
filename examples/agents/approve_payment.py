#!/usr/bin/env python3
"""A payment that a human approves first.

    export CRETO_URL=http://127.0.0.1:PORT CRETO_TOKEN=creto_agent_…      # not needed inside a sandbox
    python3 examples/agents/approve_payment.py alice 10.50

It waits until somebody decides (`creto inbox`, then `creto approve ID`, or the console), and exits with 0 when the payment was made, 3 when
it was denied, 4 when nobody decided.
"""

import sys
from decimal import Decimal

from creto import ApprovalDenied, ApprovalTimeout, Client, require_approval


def main() -> int:
    """Pays, once a human agrees."""
    to, amount = sys.argv[1], Decimal(sys.argv[2])
    with Client() as client:

        @require_approval(
            client,
            tool="pay",
            reason=lambda to, amount, memo: f"{memo} for {to}",
            timeout=600,
        )
        def pay(to: str, amount: Decimal, memo: str = "rent") -> str:
            # A real tool would call the bank here. Whatever it raises reaches the caller unchanged, and the action is on record as failed.
            return f"paid {amount} to {to} ({memo})"

        print(f"asking to pay {amount} to {to}", flush=True)
        try:
            print(pay(to, amount))
        except ApprovalDenied as denied:
            print(f"denied: {denied.detail}")
            return 3
        except ApprovalTimeout as late:
            print(f"not paid: {late.detail}")
            return 4
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} TO AMOUNT")
    sys.exit(main())
