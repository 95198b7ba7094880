#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    creto_fuzz_checks::check("mail_reply", bytes);
});
