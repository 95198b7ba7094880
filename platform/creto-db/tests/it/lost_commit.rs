//! The connection is lost exactly while COMMIT is on its way, on either side of the server's decision: a proxy between us and the server
//! cuts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use creto_db::testkit::Schema;
use creto_db::{Db, Sealed};
use creto_kernel::Coded;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{SETS, TAKEN, count, insert, leaf};

const PASS: u8 = 0;
const CUT_BEFORE: u8 = 1;
const CUT_AFTER: u8 = 2;

/// Forwards bytes. When it is armed, the next COMMIT ends the connection: before the server has it, or after the server answered it.
async fn proxy(server: String, armed: Arc<AtomicU8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(forward(client, server, Arc::clone(&armed)));
        }
    });
    port
}

async fn forward(client: TcpStream, server: TcpStream, armed: Arc<AtomicU8>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.into_split(), server.into_split());
    let (mut sent, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = from_client.read(&mut sent) => {
                let Ok(size @ 1..) = read else { return };
                let commit = sent[..size].windows(6).any(|w| w == b"COMMIT");
                let cut = if commit { armed.swap(PASS, Ordering::SeqCst) } else { PASS };
                if cut == CUT_BEFORE {
                    return;
                }
                to_server.write_all(&sent[..size]).await.unwrap();
                if cut == CUT_AFTER {
                    // The answer proves that the server has committed; nobody hears it.
                    assert!(from_server.read(&mut answered).await.unwrap() > 0);
                    return;
                }
            }
            read = from_server.read(&mut answered) => {
                let Ok(size @ 1..) = read else { return };
                if to_client.write_all(&answered[..size]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_neither_lost_nor_doubled() {
    let Some(schema) = Schema::create().await else { return };
    let options: PgConnectOptions = schema.url.parse().unwrap();
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let armed = Arc::new(AtomicU8::new(PASS));
    let port = proxy(server.clone(), Arc::clone(&armed)).await;
    let url = schema.url.replace(&server, &format!("127.0.0.1:{port}"));
    assert_ne!(url, schema.url, "the URL names the server as `{server}`");
    let db = Db::open_postgres(&url, SETS).await.unwrap();
    for (number, cut) in [(1, CUT_BEFORE), (2, CUT_AFTER), (3, CUT_AFTER), (4, CUT_BEFORE)] {
        armed.store(cut, Ordering::SeqCst);
        // Two in flight, one of them refused: it stays refused.
        let work = Sealed::new(leaf()).step(insert(number, "one")).step(insert(-number, "two"));
        let (done, refused) =
            tokio::join!(db.commit(work), db.commit(Sealed::new(leaf()).step(insert(number, "again").unique(TAKEN, "taken"))));
        assert_eq!(done.unwrap().sequence, number);
        assert_eq!(refused.unwrap_err().code(), TAKEN);
        assert_eq!(armed.load(Ordering::SeqCst), PASS, "the connection was cut");
        assert_eq!((count(&db, "item").await, count(&db, "audit_leaf").await), (2 * number, number));
    }
    schema.drop().await;
}
