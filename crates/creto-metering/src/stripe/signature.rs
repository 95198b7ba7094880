//! `Stripe-Signature`, <https://docs.stripe.com/webhooks/signature>: `t=SECONDS,v1=HEX[,v1=HEX]`, each `v1` the HMAC-SHA-256 over
//! `t.body` under one secret that is in force.

use creto_crypto::kdf;
use creto_kernel::Timestamp;

use crate::payments::Forged;

/// How old or how far ahead a signature may be, in seconds: Stripe's own libraries' tolerance.
pub const AGE_SECS_MAX: i64 = 300;
/// Most signatures of one header.
const SIGNATURES_MAX: usize = 16;

/// Refuses a body that the secret did not sign, or not now. The signature covers the bytes as they came.
pub(super) fn check(secret: &[u8], header: &str, body: &[u8], now: Timestamp) -> Result<(), Forged> {
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let stamp = parts().find(|(name, _)| *name == "t").ok_or(Forged("its signature has no time"))?.1;
    // Digits only: `+5` and ` 5` would be other bytes under one number.
    let digits = !stamp.is_empty() && stamp.bytes().all(|b| b.is_ascii_digit());
    let at = stamp.parse::<i64>().ok().filter(|_| digits).ok_or(Forged("its signature's time is none"))?;
    let mut signed = format!("{stamp}.").into_bytes();
    signed.extend_from_slice(body);
    let tags = parts().filter(|(scheme, _)| *scheme == "v1").take(SIGNATURES_MAX);
    // Each is compared in constant time, and all of them are.
    let verified = tags.filter_map(|(_, tag)| from_hex(tag)).fold(false, |any, tag| kdf::hmac_verify(secret, &signed, &tag) | any);
    if !verified {
        return Err(Forged("its signature does not verify"));
    }
    if now.as_micros().div_euclid(1_000_000).saturating_sub(at).abs() > AGE_SECS_MAX {
        return Err(Forged("it is older than five minutes, or from the future"));
    }
    Ok(())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"whsec_test";
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn tag(secret: &[u8], at: &str, body: &[u8]) -> String {
        let bytes = kdf::hmac(secret, &[at.as_bytes(), b".", body].concat());
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn only_what_one_secret_signed_now_passes() {
        let now = Timestamp::from_secs(1_800_000_000).unwrap();
        let good = tag(SECRET, "1800000000", BODY);
        let other = tag(b"another", "1800000000", BODY);
        let passes = |header: &str| check(SECRET, header, BODY, now).is_ok();
        assert!(passes(&format!("t=1800000000,v1={good}")));
        assert!(passes(&format!("t=1800000000,v1={other},v1={good},v0=00")), "one of several is enough, in any place");
        assert!(passes(&format!("t=1799999700,v1={}", tag(SECRET, "1799999700", BODY))));
        for header in [
            String::new(),
            "t=1800000000".to_owned(),
            format!("v1={good}"),
            format!("t=1800000000,v0={good}"),
            format!("t=1800000000,v1={other}"),
            format!("t=1800000001,v1={good}"),
            format!("t=1800000000,v1={}", good.get(..62).unwrap_or_default()),
            format!("t=+1800000000,v1={}", tag(SECRET, "+1800000000", BODY)),
            format!("t=1799999699,v1={}", tag(SECRET, "1799999699", BODY)),
            format!("t=1800000301,v1={}", tag(SECRET, "1800000301", BODY)),
        ] {
            assert!(!passes(&header), "{header}");
        }
        assert!(check(SECRET, &format!("t=1800000000,v1={good}"), br#"{ "id":"evt_1"}"#, now).is_err(), "the bytes as they came");
    }
}
