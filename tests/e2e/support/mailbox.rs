//! A mail server on loopback (RFC 5321, as far as a client needs it that sends): keeps who was written to about what.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::Sender;
use std::thread;

use super::heard::Heard;

/// A mail that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) subject: String,
    /// Its `Message-ID`, equal for the same mail sent again.
    pub(crate) id: String,
}

/// The mails that came.
#[derive(Debug)]
pub(crate) struct Mailbox(Heard<Mail>);

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self(Heard::listen(|stream, sender| {
            let sender = sender.clone();
            // A client keeps its connection for the next mail; whoever hangs up early sends it again.
            thread::spawn(move || take(stream, &sender));
        }))
    }

    pub(crate) fn place(&self) -> String {
        self.0.place()
    }

    /// The line of a configuration that sends mail here.
    pub(crate) fn line(&self) -> String {
        format!("email = {{ url = \"smtp://{}\", from = \"creto <creto@example.org>\" }}\n", self.place())
    }

    /// Every mail about this request that has come by now, in the order in which they came.
    pub(crate) fn about(&self, request: &str) -> Vec<Mail> {
        self.0.so_far(|mail| mail.id.contains(request))
    }
}

fn take(stream: TcpStream, sender: &Sender<Mail>) -> io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut to = String::new();
    answers.write_all(b"220 localhost\r\n")?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer: &[u8] = match line.get(..4).map(str::to_ascii_uppercase).as_deref() {
            Some("EHLO") => b"250-localhost\r\n250 8BITMIME\r\n",
            Some("RCPT") => {
                line.split(['<', '>']).nth(1).unwrap_or_default().clone_into(&mut to);
                b"250 ok\r\n"
            }
            Some("DATA") => {
                answers.write_all(b"354 go on\r\n")?;
                let (subject, id) = head(&mut reader)?;
                // A test that is over reads no more.
                let _ = sender.send(Mail { to: to.clone(), subject, id });
                b"250 kept\r\n"
            }
            Some("QUIT") => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        };
        answers.write_all(answer)?;
    }
}

/// Reads a mail to its end, and gives its subject, unfolded, and its `Message-ID`.
fn head(reader: &mut impl io::BufRead) -> io::Result<(String, String)> {
    let (mut fields, mut body) = (Vec::<String>::new(), false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line == "." {
            break;
        }
        body = body || line.is_empty();
        match fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            _ if body => {}
            Some(folded) => folded.push_str(line),
            None => fields.push(line.to_owned()),
        }
    }
    let field = |name: &str| {
        let found = fields.iter().find_map(|field| field.split_once(": ").filter(|(known, _)| known.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    Ok((field("subject"), field("message-id")))
}
