//! Names of sessions, routes and devices, and the public half of an agreement key.

use std::fmt;

use creto_kernel::Digest;

macro_rules! byte_names {
    ($($(#[$doc:meta])* $name:ident[$length:literal];)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Wraps the bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )+};
}

byte_names! {
    /// Where a packet of one session and one direction belongs, known to both endpoints. Derived from the shared secret, so that it
    /// names the session without trial decryption and says nothing to others.
    RouteId[16];
    /// One installation of an identity; a restored copy of a device is another device.
    DeviceId[16];
    /// The public half of an agreement key. Not yet checked: the agreement itself refuses degenerate points.
    AgreementPublic[32];
}

/// A session: the digest of its handshake transcript, the same at both ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Digest);

impl SessionId {
    /// Wraps a transcript digest.
    #[must_use]
    pub const fn new(transcript: Digest) -> Self {
        Self(transcript)
    }

    /// The transcript digest.
    #[must_use]
    pub const fn transcript(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
    }
}
