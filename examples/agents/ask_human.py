#!/usr/bin/env python3
"""An agent that asks a human which account to use, pays after an approval, and may be started again at any time.

    export CRETO_URL=http://127.0.0.1:PORT CRETO_TOKEN=creto_agent_…      # not needed inside a sandbox
    python3 examples/agents/ask_human.py INV-1 10.50

Its run is named after the invoice: started again, it finds the answer and the approval that were given, and pays once. It exits with 0 when
the payment was made or had been made before, 3 when it was denied, 4 when nobody answered or decided.
"""

import sys
from decimal import Decimal

from creto import (
    AlreadyDone,
    ApprovalDenied,
    ApprovalTimeout,
    Client,
    NoAnswer,
    human_as_tool,
    require_approval,
    resume,
)


def main() -> int:
    """Asks, then pays."""
    invoice, amount = sys.argv[1], Decimal(sys.argv[2])
    with Client() as client, resume(invoice):
        ask = human_as_tool(client, context={"invoice": invoice}, timeout=600)

        @require_approval(
            client,
            tool="pay_invoice",
            reason=lambda account, amount: f"invoice {invoice}",
            timeout=600,
        )
        def pay(account: str, amount: Decimal) -> str:
            # A real tool would call the bank here.
            return f"paid {amount} from {account}"

        try:
            print(f"asking about {invoice}", flush=True)
            account = ask(f"From which account shall I pay {invoice}?")
            print(f"the human said: {account}", flush=True)
            print(pay(account, amount))
        except AlreadyDone:
            print("paid before")
        except ApprovalDenied as denied:
            print(f"denied: {denied.detail}")
            return 3
        except (ApprovalTimeout, NoAnswer) as late:
            print(f"not paid: {late.detail}")
            return 4
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} INVOICE AMOUNT")
    sys.exit(main())
