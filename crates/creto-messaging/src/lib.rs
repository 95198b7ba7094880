//! End-to-end messages between agents: PQXDH, Double Ratchet, header encryption, mailbox.
