//! Serving: ready, stopping, and one owner for a directory.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use super::house::House;

#[test]
fn a_server_says_when_it_is_ready_and_ends_well_when_told_to() {
    let house = House::new();
    for signal in [Signal::TERM, Signal::INT] {
        let server = house.serve();
        assert_eq!(server.ask("", "GET", "/healthz", None), (200, "ok\n".into()));
        assert_eq!(server.stop(signal), Some(0), "{signal:?}");
        assert!(!house.data().join("creto.sock").exists(), "a socket nobody answers is left behind");
    }
}

#[test]
fn what_the_owner_alone_may_read_is_closed_to_others() {
    let house = House::new();
    let server = house.serve();
    let mode = |name: &str| std::fs::metadata(house.data().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    for name in ["admin.token", "master.key", "creto.sock", "internal.sock", "lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let token = std::fs::read_to_string(house.data().join("admin.token")).unwrap();
    let (status, whoami) = server.ask(token.trim(), "GET", "/v1/whoami", None);
    assert_eq!((status, &whoami["roles"]), (200, &"operator".into()), "{whoami}");
}

#[test]
fn a_second_server_is_refused_by_name_while_commands_go_through_the_first() {
    let house = House::new();
    let server = house.serve();
    let refused = house.run(&["serve", "--listen", "127.0.0.1:0"]).refused("app.already_owned");
    assert!(refused.contains(&house.data().display().to_string()), "{refused}");
    assert!(house.run(&["inbox"]).ok().contains("nothing waits"));
    let (status, _) = server.ask(&house.agent_key("a"), "GET", "/v1/whoami", None);
    assert_eq!(status, 200, "the key that was made through the socket is good at the server");
}

#[test]
fn commands_start_a_server_of_their_own_where_none_runs_and_leave_none_behind() {
    let house = House::new();
    house.run(&["agent", "create", "worker"]).ok();
    assert!(house.run(&["agent", "list"]).ok().contains("worker"));
    assert!(!house.data().join("creto.sock").exists());
}
