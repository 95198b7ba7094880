#!/usr/bin/env python3
"""A LangGraph agent whose payment a human approves, and which may die while it waits.

    pip install 'creto[langgraph]' langgraph-checkpoint-sqlite
    export CRETO_URL=http://127.0.0.1:PORT CRETO_TOKEN=creto_agent_…
    python3 examples/agents/langgraph_payment.py --checkpoints graph.db alice 10.50

Kill it while it waits and start it again with the same words: it goes on where it was, and pays once.
"""

import argparse
import sys
from decimal import Decimal
from pathlib import Path
from typing import TypedDict

from creto import ApprovalDenied, Client
from creto.langgraph import require_approval, resume, waiting
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    """What the graph knows."""

    to: str
    amount: str
    receipt: str


def build(client, tool, ledger):
    """A graph of one node: pay, once a human agrees."""

    @require_approval(
        client, tool=tool, reason=lambda to, amount: f"the invoice of {to} is due"
    )
    def pay(to: str, amount: Decimal) -> str:
        # A real tool would call the bank here.
        if ledger:
            with ledger.open("a") as book:
                book.write(f"{to} {amount}\n")
        return f"paid {amount} to {to}"

    def payment(state: State) -> State:
        try:
            return {"receipt": pay(state["to"], Decimal(state["amount"]))}
        except ApprovalDenied as denied:
            return {"receipt": f"denied: {denied.detail}"}

    graph = StateGraph(State)
    graph.add_node("payment", payment)
    graph.add_edge(START, "payment")
    graph.add_edge("payment", END)
    return graph


def main() -> int:
    """Begins, or goes on where an earlier process was."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--checkpoints",
        default="graph.db",
        help="where the graph is kept [default: graph.db]",
    )
    parser.add_argument(
        "--ledger", type=Path, help="a file that each payment is written to"
    )
    parser.add_argument("--tool", default="pay", help="the tool's name [default: pay]")
    parser.add_argument("to")
    parser.add_argument("amount")
    given = parser.parse_args()
    config = {"configurable": {"thread_id": f"{given.to}/{given.amount}"}}
    with (
        Client() as client,
        SqliteSaver.from_conn_string(given.checkpoints) as checkpoints,
    ):
        graph = build(client, given.tool, given.ledger).compile(
            checkpointer=checkpoints
        )
        known = graph.get_state(config)
        if not known.values:
            graph.invoke({"to": given.to, "amount": given.amount}, config)
        for request in waiting(graph.get_state(config).interrupts).values():
            print(f"waiting for a human: creto approve {request}", flush=True)
        print(resume(graph, config)["receipt"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
