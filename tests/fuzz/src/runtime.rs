//! What comes out of a sandbox.

use creto_runtime::core::destination::Destination;
use creto_runtime::wire::{Frame, read};

/// Frames of the agent inside: whatever it writes is a row of frames, or an error.
pub(crate) fn runtime_frame(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut accepted = false;
    while let Ok(Some(frame)) = read(&mut rest) {
        let written = frame.encode().expect("what was read can be written");
        let body = written.get(4..).expect("a length");
        assert_eq!(Frame::decode(body).expect("what was written can be read"), frame);
        accepted = true;
    }
    accepted
}

/// A connection to the gateway: what it asks for names one destination, in one spelling.
pub(crate) fn egress_http(bytes: &[u8]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let asked = runtime.block_on(creto_runtime::egress::understood(bytes));
    for request in asked.iter().flatten() {
        let spelled = request.destination.to_string();
        assert_eq!(spelled.parse::<Destination>().as_ref(), Ok(&request.destination), "{spelled}");
    }
    asked.iter().any(Option::is_some)
}
