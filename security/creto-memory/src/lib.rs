//! What an agent knew and why it acts; always untrusted text.
