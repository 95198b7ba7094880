//! Secrets of ours in a quotation: the token a mail was answered by, and that of its link, also where a gateway rewrote the link.
//!
//! Gateways put a link into one of their own, percent-encoded once or more (Safe Links, and most), with `*` for `#` (Proofpoint's URL
//! Defense, version 3), or with `_` for `/` and `-` for `%` (its version 2).

/// What a decision link has before the request and the secret.
const LINK: &str = "/#/mail/";
/// Hexadecimal digits of a link's secret.
const SECRET_DIGITS: usize = 64;

/// How a link is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// As it is, or with any of its characters percent-encoded.
    Percent,
    /// URL Defense, version 2.
    Defense,
}

/// The text without the secrets of the mail that is quoted in it; every other character stays.
pub(super) fn without(text: &str, token: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (at, _) in text.to_ascii_lowercase().match_indices(token) {
        out.push_str(text.get(from..at).unwrap_or_default());
        out.push('…');
        from = at + token.len();
    }
    out.push_str(text.get(from..).unwrap_or_default());
    without_links(&out)
}

fn without_links(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['/', '%', '_']) {
        let (before, found) = rest.split_at(at);
        clean.push_str(before);
        let link = [Style::Percent, Style::Defense].into_iter().find_map(|style| secret(found, style));
        match link {
            Some((begins, ends)) => {
                clean.push_str(found.get(..begins).unwrap_or_default());
                clean.push('…');
                rest = found.get(ends..).unwrap_or_default();
            }
            None => {
                let (one, others) = found.split_at(1);
                clean.push_str(one);
                rest = others;
            }
        }
    }
    clean.push_str(rest);
    clean
}

/// Where the secret of the link that the text begins with begins and ends. A quotation may break the line anywhere in it; a link that is
/// broken before its secret has a whole one, and what follows a break belongs to a secret only where it completes it.
fn secret(text: &str, style: Style) -> Option<(usize, usize)> {
    let (mut at, mut broken) = (0, false);
    let mut next = |at: &mut usize| {
        let rest = text.get(*at..)?;
        let unbroken = after_break(rest);
        broken |= unbroken.is_some();
        let unbroken = unbroken.unwrap_or(rest);
        let (found, length) = unit(unbroken, style)?;
        *at = text.len() - unbroken.len() + length;
        Some(found)
    };
    for wanted in LINK.chars() {
        let found = next(&mut at)?;
        if !(found.eq_ignore_ascii_case(&wanted) || (wanted, found) == ('#', '*')) {
            return None;
        }
    }
    let mut named = 0;
    loop {
        match next(&mut at)? {
            '/' if named > 0 => break,
            found if found.is_ascii_alphanumeric() || found == '_' => named += 1,
            _ => return None,
        }
    }
    let begins = at;
    let (mut ends, mut count) = digits(text, begins, SECRET_DIGITS, style);
    let mut after = ends;
    while let Some(next) = text.get(after..).filter(|_| count < SECRET_DIGITS).and_then(after_break) {
        let (to, more) = digits(text, text.len() - next.len(), SECRET_DIGITS - count, style);
        if more == 0 {
            break;
        }
        (after, count) = (to, count + more);
        if count == SECRET_DIGITS {
            ends = after;
        }
    }
    (ends > begins && (!broken || count == SECRET_DIGITS)).then_some((begins, ends))
}

/// What follows a break of the line that the text begins with: of flowed text (RFC 3676), of quoted-printable, or of neither.
fn after_break(text: &str) -> Option<&str> {
    let text = text.strip_prefix([' ', '=']).unwrap_or(text);
    text.strip_prefix('\n').map(|next| next.trim_start_matches(['>', ' ', '\t']))
}

/// Where the hexadecimal digits end that begin at `at`, and how many they are: at most `most`.
fn digits(text: &str, mut at: usize, most: usize, style: Style) -> (usize, usize) {
    let mut count = 0;
    while count < most
        && let Some((found, length)) = text.get(at..).and_then(|rest| unit(rest, style))
        && found.is_ascii_hexdigit()
    {
        (at, count) = (at + length, count + 1);
    }
    (at, count)
}

/// The character of a link that the text begins with, and how many bytes it takes there.
fn unit(text: &str, style: Style) -> Option<(char, usize)> {
    let first = text.chars().next()?;
    let hex = |at: usize| text.get(at..at + 2).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
    match (style, first) {
        (Style::Defense, '_') => return Some(('/', 1)),
        // There it is always written `_`.
        (Style::Defense, '/') => return None,
        (Style::Percent, '%') | (Style::Defense, '-') => {
            // Encoded once more, `%2F` is `%252F`.
            let mut at = 1;
            while hex(at) == Some("25") && hex(at + 2).is_some() {
                at += 2;
            }
            let decoded = hex(at).and_then(|two| u8::from_str_radix(two, 16).ok()).filter(u8::is_ascii);
            if let Some(byte) = decoded {
                return Some((char::from(byte), at + 2));
            }
        }
        _ => {}
    }
    Some((first, first.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_links_secret_is_taken_out_however_a_gateway_wrote_the_link() {
        let request = format!("req_{}", "0a".repeat(16));
        let hex = "fe09".repeat(16);
        for (before, after) in [
            (format!("http://h/#/mail/{request}/"), ""),
            (format!("http://h/#/mail/{request}/"), ", and"),
            (format!("https://eur01.safelinks.protection.outlook.com/?url=http%3A%2F%2Fh%2F%23%2Fmail%2F{request}%2F"), "&data=05%7C01"),
            (format!("https://linkprotect.cudasvc.com/url?a=http%3a%2f%2fh%2f%23%2fmail%2f{request}%2f"), "&c=E,1"),
            (format!("https://outer/?u=https%3A%2F%2Finner%2F%3Furl%3Dhttp%253A%252F%252Fh%252F%2523%252Fmail%252F{request}%252F"), "%26x"),
            (format!("https://o/?u=%25252F%252523%25252F%6dail%25252F{}%25252F", request.replace('_', "%5F")), ""),
            (format!("https://www.google.com/url?q=http://h/%23/mail/{request}/"), "&sa=D"),
            (format!("https://urldefense.com/v3/__http://h/*/mail/{request}/"), "__;Iw!!abc"),
            (format!("https://urldefense.proofpoint.com/v2/url?u=http-3A__h_-23_mail_{}_", request.replace('_', "-5F")), "&d=DwM"),
        ] {
            for secret in [hex.clone(), hex.to_ascii_uppercase(), format!("{}\n> {}", &hex[..20], &hex[20..])] {
                let said = format!("ok {before}{secret}{after} – ü");
                assert_eq!(without(&said, TOKEN), format!("ok {before}…{after} – ü"), "{said}");
                assert_eq!(without(&without(&said, TOKEN), TOKEN), without(&said, TOKEN), "and no more of it the second time");
            }
        }
    }

    #[test]
    fn a_secret_is_taken_out_wherever_its_link_is_broken() {
        let (request, hex) = (format!("req_{}", "0a".repeat(16)), "fe09".repeat(16));
        let link = format!("/#/mail/{request}/{hex}");
        for at in 1..link.len() {
            for line in ["\n", "\n> ", " \n>> ", "=\n"] {
                let said = without(&format!("> http://h{}{line}{} ok", &link[..at], &link[at..]), TOKEN);
                assert!(!said.contains("fe09") && said.ends_with(" ok") && said.contains('…'), "{at}: {said}");
            }
        }
        // A name that a line ends with, and words under it.
        let said = format!("/#/mail/{request}\nadded/feed");
        assert_eq!(without(&said, TOKEN), said);
    }

    #[test]
    fn what_is_no_link_of_ours_stays_as_it_is() {
        for said in [
            "http://h/#/mail/a b/c",
            "http://h/#/inbox/req_1/deed",
            "the mail/letter/deed, 100%, 50 % 25%25, a_b_-23_mail_ and %2F%23%2Fmail%2F",
            "/#/mail/req_1",
            "/#/mail//deed",
            "%",
            "%2",
            "%25",
            "%ü/#/mail/ü",
            "-23_-",
        ] {
            assert_eq!(without(said, TOKEN), said);
        }
        // A secret that was cut is taken out, and the words of the next line are not.
        assert_eq!(without("/#/mail/req_1/fe09\nadded by ada", TOKEN), "/#/mail/req_1/…\nadded by ada");
    }

    #[test]
    fn long_escapes_are_looked_at_once() {
        let said = format!("%{}", "25".repeat(1 << 19));
        let began = std::time::Instant::now();
        assert_eq!(without(&said, TOKEN), said);
        let said = "%252F%2523".repeat(100_000);
        assert_eq!(without(&said, TOKEN), said);
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    }
}
