//! What a mail server of ours found out about a mail: `Authentication-Results`, RFC 8601.

use crate::model::comment::Sender;

/// What the topmost of these header fields, in the mail's order, that one of `ours` wrote says of a sender at `domain`.
///
/// Fields of other servers mean nothing: whoever sends a mail writes them at will. Of those under our own name the topmost is the newest,
/// written by the last server before us; below it may stand what the sender forged. A server that names itself must remove such fields
/// from what it takes in (RFC 8601, section 5), or a mail it found nothing to say of would bring its own.
pub(super) fn sender<'a>(fields: impl Iterator<Item = &'a str>, ours: &[String], domain: &str) -> Sender {
    for field in fields {
        let mut reader = Reader(field);
        let Some(server) = reader.server() else { continue };
        if ours.iter().any(|name| name.eq_ignore_ascii_case(&server)) {
            return reader.results().map_or(Sender::Unverified, |results| judged(&results, domain));
        }
    }
    Sender::Unverified
}

/// A method with its verdict, then its properties.
type Finding = Vec<(String, String)>;

fn judged(findings: &[Finding], domain: &str) -> Sender {
    let passed = |finding: &&Finding, method: &str| {
        finding.first().is_some_and(|(name, verdict)| name.split('/').next() == Some(method) && verdict.eq_ignore_ascii_case("pass"))
    };
    let of = |finding: &Finding, name: &str| finding.iter().skip(1).find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let signs = |finding: &Finding| {
        let by = of(finding, "header.d").or_else(|| Some(of(finding, "header.i")?.rsplit_once('@')?.1.to_owned()));
        by.is_some_and(|by| is_aligned(&by, domain))
    };
    let holds = |finding: &Finding| of(finding, "header.from").is_some_and(|from| from.eq_ignore_ascii_case(domain));
    if findings.iter().filter(|finding| passed(finding, "dmarc")).any(holds) {
        Sender::Dmarc
    } else if findings.iter().filter(|finding| passed(finding, "dkim")).any(signs) {
        Sender::Dkim
    } else {
        Sender::Unverified
    }
}

/// Whether a signature of one domain speaks for senders of another: the same, or one within the other. RFC 7489 aligns by organisational
/// domain, which takes the list of public suffixes; without it two siblings are not aligned, and a name without a dot speaks for itself
/// only.
fn is_aligned(signed: &str, domain: &str) -> bool {
    let (a, b) = (signed.trim_end_matches('.').to_ascii_lowercase(), domain.trim_end_matches('.').to_ascii_lowercase());
    let within = |inner: &str, outer: &str| outer.contains('.') && inner.strip_suffix(outer).is_some_and(|rest| rest.ends_with('.'));
    !a.is_empty() && (a == b || within(&a, &b) || within(&b, &a))
}

/// Reads a header field's value, unfolded.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.0.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.0 = self.0.get(c.len_utf8()..).unwrap_or_default();
        Some(c)
    }

    /// White space and comments, which nest and escape; `None` for one that does not end.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_u32;
        while let Some(c) = self.peek() {
            match (c, depth) {
                ('(', _) => depth = depth.saturating_add(1),
                (')', 1..) => depth -= 1,
                ('\\', 1..) => drop(self.next()),
                (_, 1..) => {}
                (c, 0) if c.is_ascii_whitespace() => {}
                _ => return Some(()),
            }
            self.next();
        }
        (depth == 0).then_some(())
    }

    /// A token, in parts that may be quoted; empty where there is none, `None` for a quotation that does not end.
    fn word(&mut self, ends: &[char]) -> Option<String> {
        let mut word = String::new();
        while let Some(c) = self.peek().filter(|c| !c.is_ascii_whitespace() && *c != '(' && *c != ';' && !ends.contains(c)) {
            self.next();
            if c != '"' {
                word.push(c);
                continue;
            }
            loop {
                match self.next()? {
                    '"' => break,
                    '\\' => word.push(self.next()?),
                    c => word.push(c),
                }
            }
        }
        Some(word)
    }

    /// The server's name, and its version behind it.
    fn server(&mut self) -> Option<String> {
        self.skip()?;
        let name = self.word(&['='])?;
        self.skip()?;
        let _version = self.word(&['='])?;
        self.skip()?;
        (!name.is_empty() && matches!(self.peek(), None | Some(';'))).then_some(name)
    }

    /// Every result; `None` where the field does not follow the grammar.
    fn results(&mut self) -> Option<Vec<Finding>> {
        let mut all = Vec::new();
        while self.next() == Some(';') {
            let mut result = Finding::new();
            loop {
                self.skip()?;
                if matches!(self.peek(), None | Some(';')) {
                    break;
                }
                let name = self.word(&['='])?.to_ascii_lowercase();
                self.skip()?;
                if self.peek() != Some('=') {
                    // `none`: there are no results.
                    if name == "none" && result.is_empty() && matches!(self.peek(), None | Some(';')) {
                        break;
                    }
                    return None;
                }
                self.next();
                self.skip()?;
                result.push((name, self.word(&[])?));
            }
            all.push(result);
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(fields: &[&str], domain: &str) -> Sender {
        sender(fields.iter().copied(), &["mx.example.org".to_owned()], domain)
    }

    #[test]
    fn what_our_server_saw_counts_and_nothing_else_does() {
        for (field, said) in [
            ("mx.example.org; dkim=pass header.d=example.com", Sender::Dkim),
            ("MX.example.org 1; DKIM=Pass header.d=Example.COM.", Sender::Dkim),
            (
                "mx.example.org; dkim=pass (2048-bit key; unprotected) header.d=example.com header.i=@example.com header.b=a/b+=",
                Sender::Dkim,
            ),
            (
                "(c) \"mx.example.org\" ; spf=fail smtp.mailfrom=x; dkim=fail header.d=a.b; dkim = pass header.i=@mail.example.com",
                Sender::Dkim,
            ),
            ("mx.example.org; dmarc=pass (p=NONE sp=NONE dis=NONE) header.from=example.com", Sender::Dmarc),
            ("mx.example.org; dkim=pass header.d=evil.com; dmarc=pass header.from=example.com", Sender::Dmarc),
            ("mx.example.org; dmarc=pass header.from=evil.com", Sender::Unverified),
            ("mx.example.org; dmarc=pass", Sender::Unverified),
            ("mx.example.org; dkim=pass header.d=evil.com", Sender::Unverified),
            ("mx.example.org; dkim=pass header.d=notexample.com", Sender::Unverified),
            ("mx.example.org; dkim=pass header.d=com", Sender::Unverified),
            ("mx.example.org; dkim=pass", Sender::Unverified),
            ("mx.example.org; dkim=fail header.d=example.com", Sender::Unverified),
            ("mx.example.org; dkim=none reason=\"dkim=pass header.d=example.com\"", Sender::Unverified),
            ("mx.example.org; dkim=none (dkim=pass header.d=example.com)", Sender::Unverified),
            ("mx.example.org; spf=pass smtp.mailfrom=\"x; dkim=pass header.d=example.com\"@evil.com", Sender::Unverified),
            ("mx.example.org; spf=pass smtp.mailfrom=\"x; dkim=pass header.d=example.com", Sender::Unverified),
            ("mx.example.org; (never ends; dkim=pass header.d=example.com", Sender::Unverified),
            ("mx.example.org; none", Sender::Unverified),
            ("mx.example.org", Sender::Unverified),
            ("mx.example.org.evil.com; dkim=pass header.d=example.com", Sender::Unverified),
            ("evil.com; dkim=pass header.d=example.com", Sender::Unverified),
            ("dkim=pass header.d=example.com", Sender::Unverified),
            ("", Sender::Unverified),
        ] {
            assert_eq!(judge(&[field], "example.com"), said, "{field}");
        }
    }

    #[test]
    fn of_our_own_servers_fields_the_topmost_counts_and_those_of_others_are_not_read() {
        let (yes, no) = ("mx.example.org; dkim=pass header.d=example.com", "mx.example.org; dkim=fail header.d=example.com");
        let (other, broken) = ("mx.evil.com; dkim=pass header.d=example.com", "mx.example.org; (");
        for (fields, said) in [
            (&[no, yes][..], Sender::Unverified),
            (&[yes, no], Sender::Dkim),
            (&[other, yes], Sender::Dkim),
            (&[other, no, yes], Sender::Unverified),
            (&[yes, other], Sender::Dkim),
            (&[broken, yes], Sender::Unverified),
            (&[], Sender::Unverified),
        ] {
            assert_eq!(judge(fields, "example.com"), said, "{fields:?}");
        }
        assert_eq!(sender([yes].into_iter(), &[], "example.com"), Sender::Unverified, "no server is trusted unless it is named");
    }

    #[test]
    fn a_domain_speaks_for_itself_what_is_within_it_and_what_it_is_within() {
        for (signed, domain, aligned) in [
            ("example.com", "example.com", true),
            ("mail.example.com", "example.com", true),
            ("example.com", "mail.example.com", true),
            ("a.example.com", "b.example.com", false),
            ("com", "example.com", false),
            ("localhost", "localhost", true),
            ("", "example.com", false),
            ("example.com.evil.org", "example.com", false),
        ] {
            assert_eq!(is_aligned(signed, domain), aligned, "{signed} for {domain}");
        }
    }
}
