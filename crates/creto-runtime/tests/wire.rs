//! The decoder of bytes from inside a sandbox, against everything that is not a frame.

use creto_runtime::wire;
use proptest::prelude::*;
use wire::{Channel, Exit, Frame, FrameError};

fn channel() -> impl Strategy<Value = Channel> {
    prop_oneof![Just(Channel::Stdin), Just(Channel::Stdout), Just(Channel::Stderr)]
}

fn strings() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..10)
}

fn frame() -> impl Strategy<Value = Frame> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (any::<u32>(), any::<bool>()).prop_map(|(protocol, statx_broken)| Frame::Ready { protocol, statx_broken }),
        strings().prop_map(|env| Frame::Bind { env }),
        Just(Frame::Bound),
        (any::<u32>(), strings(), strings(), bytes()).prop_map(|(stream, argv, env, cwd)| Frame::Exec { stream, argv, env, cwd }),
        (any::<u32>(), any::<u32>()).prop_map(|(stream, pid)| Frame::Started { stream, pid }),
        (any::<u32>(), any::<i32>(), bytes()).prop_map(|(stream, errno, message)| Frame::Failed { stream, errno, message }),
        (any::<u32>(), channel(), bytes()).prop_map(|(stream, channel, bytes)| Frame::Data { stream, channel, bytes }),
        any::<u32>().prop_map(|stream| Frame::StdinEnd { stream }),
        (any::<u32>(), channel(), any::<u32>()).prop_map(|(stream, channel, bytes)| Frame::Credit { stream, channel, bytes }),
        (any::<u32>(), any::<i32>()).prop_map(|(stream, signal)| Frame::Kill { stream, signal }),
        (any::<u32>(), any::<i32>()).prop_map(|(stream, code)| Frame::Exited { stream, exit: Exit::Code(code) }),
        (any::<u32>(), any::<i32>()).prop_map(|(stream, signal)| Frame::Exited { stream, exit: Exit::Signal(signal) }),
        any::<u32>().prop_map(|nonce| Frame::Ping { nonce }),
        any::<u32>().prop_map(|nonce| Frame::Pong { nonce }),
    ]
}

proptest! {
    #[test]
    fn frames_round_trip_alone_and_in_a_row(frames in proptest::collection::vec(frame(), 1..5)) {
        let mut bytes = Vec::new();
        for frame in &frames {
            wire::write(&mut bytes, frame).unwrap();
        }
        let mut rest = bytes.as_slice();
        for frame in &frames {
            prop_assert_eq!(&wire::read(&mut rest).unwrap().unwrap(), frame);
        }
        prop_assert!(wire::read(&mut rest).unwrap().is_none());
    }

    #[test]
    fn any_bytes_are_a_frame_that_encodes_to_them_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(frame) = Frame::decode(&body) {
            let encoded = frame.encode().unwrap();
            // Kinds without a stream ignore those four bytes.
            prop_assert_eq!(encoded.len() - 4, body.len());
            prop_assert_eq!(encoded[4], body[0]);
        }
    }

    #[test]
    fn a_cut_frame_is_an_error(frame in frame(), keep in any::<prop::sample::Index>()) {
        let bytes = frame.encode().unwrap();
        let keep = keep.index(bytes.len());
        let mut cut = &bytes[..keep];
        match wire::read(&mut cut) {
            Ok(None) => prop_assert!(keep < 4),
            Ok(Some(_)) => prop_assert!(false, "a cut frame was read"),
            Err(_) => {}
        }
    }
}

#[test]
fn limits_hold_before_anything_is_allocated() {
    assert_eq!(wire::body_length([0xff; 4]), Err(FrameError::Length(u32::MAX as usize)));
    assert_eq!(wire::body_length([4, 0, 0, 0]), Err(FrameError::Length(4)));
    // A list that announces four thousand million strings.
    assert_eq!(Frame::decode(&[2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), Err(FrameError::Payload(2)));
    assert_eq!(Frame::decode(&[99, 0, 0, 0, 0]), Err(FrameError::Kind(99)));
    let long = Frame::Exec { stream: 1, argv: vec![vec![0; wire::FRAME_BYTES_MAX]], env: vec![], cwd: vec![] };
    assert!(matches!(long.encode(), Err(FrameError::Length(_))));
}
