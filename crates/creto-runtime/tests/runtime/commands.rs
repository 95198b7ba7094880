//! Commands: their output, input, ends and surroundings.

use std::sync::Arc;
use std::time::Duration;

use creto_runtime::container::{ContainerRuntime, resolve_mount};
use creto_runtime::link::{ExecEvent, ExecSpec, Exit};
use creto_runtime::{RuntimeError, SandboxPlan};

use super::support::{argv, finish, host, run, shell};

#[tokio::test(flavor = "multi_thread")]
async fn output_error_output_and_exit_code_come_through() {
    let Some(host) = host().await else { return };
    let sandbox = host.sandbox().await;
    let echo = run(&sandbox, argv(&["echo", "hi"])).await;
    assert_eq!((echo.text().as_str(), echo.exit), ("hi\n", Some(Exit::Code(0))));
    let both = run(&sandbox, shell("echo out; echo err >&2; exit 7")).await;
    assert_eq!((both.text().as_str(), both.stderr.as_slice(), both.exit), ("out\n", b"err\n".as_slice(), Some(Exit::Code(7))));
    let killed = run(&sandbox, shell("kill -9 $$")).await;
    assert_eq!(killed.exit, Some(Exit::Signal(9)));
    sandbox.ping().await.unwrap();
    assert!(sandbox.destroy().await.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_told_apart_from_one_that_fails() {
    let Some(host) = host().await else { return };
    let sandbox = host.sandbox().await;
    for spec in [argv(&["/no/such/program"]), ExecSpec { cwd: Some(b"/no/such/folder".to_vec()), ..argv(&["true"]) }] {
        assert!(matches!(sandbox.exec(spec).await, Err(RuntimeError::ExecFailed { errno: 2, .. })));
    }
    assert!(matches!(sandbox.exec(argv(&[])).await, Err(RuntimeError::Invalid(_))));
    // The agent, process 1, outlives the failed starts.
    assert_eq!(run(&sandbox, argv(&["true"])).await.exit, Some(Exit::Code(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_arrive_whole_and_in_order() {
    let Some(host) = host().await else { return };
    let sandbox = host.sandbox().await;
    let output = run(&sandbox, shell("i=0; while [ $i -lt 10 ]; do head -c 1048576 /dev/zero | tr '\\0' $i; i=$((i+1)); done")).await;
    assert_eq!(output.stdout.len(), 10 << 20);
    let ordered = output.stdout.chunks(1 << 20).enumerate().all(|(i, megabyte)| megabyte.iter().all(|&b| usize::from(b - b'0') == i));
    assert!(ordered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_nobody_reads_from_holds_up_no_other() {
    let Some(host) = host().await else { return };
    let sandbox = host.sandbox().await;
    let mut unread = sandbox.exec(argv(&["yes"])).await.unwrap();
    let mut unfed = sandbox.exec(argv(&["sleep", "1000"])).await.unwrap();
    let mut stdin = unfed.take_stdin().unwrap();
    let filling = tokio::spawn(async move { stdin.write(&vec![0; 8 << 20]).await });
    assert_eq!(run(&sandbox, argv(&["echo", "hi"])).await.text(), "hi\n");
    for exec in [&unread, &unfed] {
        exec.kill(9).await.unwrap();
    }
    assert_eq!(finish(unfed).await.exit, Some(Exit::Signal(9)));
    filling.await.unwrap().unwrap();
    let mut taken = 0;
    while let ExecEvent::Stdout(bytes) = unread.next().await.unwrap() {
        taken += bytes.len();
    }
    assert!(taken < 4 << 20, "{taken} bytes were buffered for nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_carried_and_ends() {
    let Some(host) = host().await else { return };
    let sandbox = host.sandbox().await;
    let mut exec = sandbox.exec(argv(&["sha256sum"])).await.unwrap();
    let mut stdin = exec.take_stdin().unwrap();
    stdin.write(&vec![b'a'; 1_000_000]).await.unwrap();
    stdin.end().await.unwrap();
    let output = finish(exec).await;
    assert_eq!(output.text(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0  -\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_reaped_and_do_not_hold_up_the_end() {
    let Some(host) = host().await else { return };
    let sandbox = host.sandbox().await;
    // Twenty grandchildren whose parent ends at once, and one that keeps the output open.
    let output =
        run(&sandbox, shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (true &) ; done; (sleep 1000 &); echo done"))
            .await;
    assert_eq!((output.text().as_str(), output.exit), ("done\n", Some(Exit::Code(0))));
    // A zombie has state Z in its stat; the shell's own children are waited for by then.
    let zombies = run(&sandbox, shell("cat /proc/[0-9]*/stat | grep -c ') Z ' || true")).await;
    assert_eq!(zombies.text(), "0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_programs_run_and_its_secrets_do_not_exist() {
    let Some(host) = host().await else { return };
    let sandbox = host.sandbox().await;
    for (script, expected) in [
        ("ls -d /usr/bin && stat -c %n /usr/bin && ls -l / > /dev/null && echo ok", "/usr/bin\n/usr/bin\nok\n"),
        ("python3 -c 'print(6*7)'", "42\n"),
        ("ls -A /root; cat /etc/shadow 2>/dev/null; ls -A /opt; ls -A /mnt; echo nothing", "nothing\n"),
        ("touch /usr/x /etc/x /x 2>/dev/null; echo $?", "1\n"),
        ("echo kept > /tmp/a && cat /tmp/a; pwd", "kept\n/home/agent\n"),
        ("id -u; cat /etc/resolv.conf | grep -c nameserver", "0\n0\n"),
    ] {
        let output = run(&sandbox, shell(script)).await;
        assert_eq!(output.text(), expected, "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_show_what_was_asked_and_no_more() {
    let Some(host) = host().await else { return };
    let data = tempfile::tempdir().unwrap();
    let out = data.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(data.path().join("set.csv"), "1,2\n").unwrap();
    let mounts = vec![resolve_mount(data.path().to_str().unwrap()).unwrap(), resolve_mount(&format!("{}:rw", out.display())).unwrap()];
    let sandbox = host.runtime.start(&SandboxPlan { mounts, ..SandboxPlan::default() }).await.unwrap();
    sandbox.bind(vec![b"PATH=/usr/bin".to_vec()]).await.unwrap();
    let script = "cat set.csv; touch new 2>/dev/null || echo refused; echo made > out/result";
    let cwd = Some(data.path().to_str().unwrap().as_bytes().to_vec());
    let output = run(&sandbox, ExecSpec { cwd, ..shell(script) }).await;
    assert_eq!(output.text(), "1,2\nrefused\n", "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(out.join("result")).unwrap(), "made\n");
    assert!(sandbox.destroy().await.clean);
    assert!(data.path().join("set.csv").exists(), "clearing up must not reach into a mount");
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_in_parallel_do_not_see_each_other() {
    let Some(host) = host().await.map(Arc::new) else { return };
    let runs = (0..4).map(|i| {
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            let sandbox = host.sandbox().await;
            let output = run(&sandbox, shell(&format!("echo {i} >> /tmp/shared; cat /tmp/shared; ls /proc | grep -c '^[0-9]'"))).await;
            let clean = sandbox.destroy().await.clean;
            (i, output.text(), clean)
        })
    });
    for run in runs {
        let (i, text, clean) = tokio::time::timeout(Duration::from_secs(60), run).await.unwrap().unwrap();
        assert!(text.starts_with(&format!("{i}\n")) && text.lines().count() == 2, "{text}");
        assert!(clean);
    }
    assert_eq!(host.left(), Vec::<String>::new());
}
