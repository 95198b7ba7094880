//! Signed notes (C2SP signed-note): a text and the lines of those who signed it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creto_kernel::Digest;

/// Largest note we read, in bytes: sixteen post-quantum signatures fit.
pub const NOTE_BYTES_MAX: usize = 128 << 10;
/// Most signature lines we read; the specification demands at least 16.
pub const SIGNATURES_MAX: usize = 32;

/// Signature type bytes that C2SP assigns (signed-note, "Signature types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteAlgorithm {
    /// 0x01: Ed25519 over the note text.
    Ed25519,
    /// 0x06: timestamped ML-DSA-44 (sub)tree cosignature (C2SP tlog-cosignature).
    MlDsa44,
}

impl NoteAlgorithm {
    /// The assigned type byte.
    #[must_use]
    pub const fn type_byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::MlDsa44 => 0x06,
        }
    }
}

/// A key's short identifier in a note. It names a key; it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NoteKeyId(pub [u8; 4]);

impl NoteKeyId {
    /// `SHA-256(name ‖ 0x0A ‖ type ‖ public key)[:4]`.
    #[must_use]
    pub fn of(name: &str, algorithm: NoteAlgorithm, public: &[u8]) -> Self {
        let digest = Digest::of_parts(&[name.as_bytes(), b"\n", &[algorithm.type_byte()], public]);
        let [a, b, c, d, ..] = *digest.as_bytes();
        Self([a, b, c, d])
    }
}

/// A verifier key in text form: `<name>+<hex key id>+<base64(type ‖ public key)>`.
#[must_use]
pub fn verifier_key(name: &str, algorithm: NoteAlgorithm, public: &[u8]) -> String {
    let NoteKeyId(id) = NoteKeyId::of(name, algorithm, public);
    let material: Vec<u8> = std::iter::once(algorithm.type_byte()).chain(public.iter().copied()).collect();
    format!("{name}+{}+{}", hex::encode(id), STANDARD.encode(material))
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The signer's name.
    pub name: String,
    /// The signer's key.
    pub key: NoteKeyId,
    /// What the algorithm made.
    pub bytes: Vec<u8>,
}

/// A note whose form was read; none of its signatures is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The signed text, ending in a newline.
    pub text: String,
    /// Its signatures, in order.
    pub signatures: Vec<NoteSignature>,
}

/// The bytes are not a signed note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a signed note: {0}")]
pub struct NoteError(pub &'static str);

impl Note {
    /// Reads a note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError("it is larger than 128 KiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError("it is not UTF-8"))?;
        if note.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(NoteError("it holds a control character"));
        }
        let split = note.rfind("\n\n").ok_or(NoteError("no empty line separates text and signatures"))?;
        let (text, lines) = note.split_at_checked(split + 1).ok_or(NoteError("no text"))?;
        let lines = lines.strip_prefix('\n').and_then(|l| l.strip_suffix('\n')).ok_or(NoteError("the last line is not ended"))?;
        let signatures = lines.split('\n').map(parse_line).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(NoteError("it has more than 32 signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The note's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut note = format!("{}\n", self.text);
        for signature in &self.signatures {
            let NoteKeyId(id) = signature.key;
            let blob: Vec<u8> = id.iter().chain(&signature.bytes).copied().collect();
            note.push_str(&format!("— {} {}\n", signature.name, STANDARD.encode(blob)));
        }
        note.into_bytes()
    }

    /// The signatures that claim to be this key's.
    pub fn by<'a>(&'a self, name: &'a str, key: NoteKeyId) -> impl Iterator<Item = &'a NoteSignature> {
        self.signatures.iter().filter(move |s| s.key == key && s.name == name)
    }
}

fn parse_line(line: &str) -> Result<NoteSignature, NoteError> {
    let form = || NoteError("a signature line is not `— <name> <base64>`");
    let (name, blob) = line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or_else(form)?;
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c == '+') {
        return Err(form());
    }
    let blob = STANDARD.decode(blob).map_err(|_| form())?;
    let (id, bytes) = blob.split_first_chunk::<4>().filter(|(_, bytes)| !bytes.is_empty()).ok_or_else(form)?;
    Ok(NoteSignature { name: name.to_owned(), key: NoteKeyId(*id), bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the signed-note specification.
    const EXAMPLE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn the_specifications_example_reads_verifies_and_prints_back() {
        let note = Note::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(note.encode(), EXAMPLE.as_bytes());
        let public = STANDARD.decode(EXAMPLE_KEY.rsplit('+').next().unwrap()).unwrap()[1..].to_vec();
        assert_eq!(verifier_key("example.com/foo", NoteAlgorithm::Ed25519, &public), EXAMPLE_KEY);
        let id = NoteKeyId::of("example.com/foo", NoteAlgorithm::Ed25519, &public);
        let signature = note.by("example.com/foo", id).next().unwrap();
        let key = creto_crypto::PublicKey::new(creto_crypto::SignSuite::Ed25519, public).unwrap();
        key.verify_format(note.text.as_bytes(), &signature.bytes).unwrap();
        assert!(key.verify_format(b"This is another message.\n", &signature.bytes).is_err());
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "text\n",
            "text\n\n",
            "text\n\nno dash\n",
            "text\n\n— name\n",
            "text\n\n— name AAAA\n",
            "text\n\n— na+me AAAAAAA=\n",
            "text\n\n— name AAAAAAA=",
            "text\n\n— name AAAAAAA= \n",
            "text\n\n— name AAAAAAB=\n",
            "te\rxt\n\n— name AAAAAAA=\n",
        ] {
            assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Note::parse(b"\xff\n\n\xe2\x80\x94 name AAAAAAA=\n").is_err());
        assert!(Note::parse("text\n\n— name AAAAAAA=\n".as_bytes()).is_ok());
        assert!(Note::parse(&[b'a'; NOTE_BYTES_MAX + 1]).is_err());
        let many = format!("text\n\n{}", "— name AAAAAAA=\n".repeat(SIGNATURES_MAX + 1));
        assert!(Note::parse(many.as_bytes()).is_err());
    }
}
