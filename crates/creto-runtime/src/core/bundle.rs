//! What a sandbox contains: an OCI bundle (runtime-spec 1.0) over a curated root. The host's `/` is never the root: only `/usr` and a
//! few named files are visible, read-only, so that the host's programs run and its secrets do not exist.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where the agent lies in the root.
pub const AGENT_PATH: &str = "/.creto/agent";
/// Where the preload shim lies in the root.
pub const SHIM_PATH: &str = "/.creto/statx_shim.so";
/// Where the program that speaks for the agent lies in the root; its folder is on `PATH`.
pub const PROGRAM_PATH: &str = "/.creto/bin/creto";
/// The folder that holds the egress socket.
pub const SOCKET_DIR: &str = "/run/creto";
/// The default home and working directory, in memory.
pub const HOME_DIR: &str = "/home/agent";
/// Most extra mounts of one sandbox.
pub const MOUNTS_MAX: usize = 64;
/// The folders of a root that are links into `/usr` where it is merged.
pub const USR_LINKS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Files and folders of `/etc` that hold no secret and that programs need.
pub const ETC_SHARED: [&str; 9] =
    ["alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "services", "ssl/certs", "ssl/openssl.cnf"];

/// An extra folder or file of the host, at the same path inside.
///
/// INVARIANT: absolute, without `.` and `..`, and under none of the folders the root itself is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mount {
    path: PathBuf,
    writable: bool,
}

/// Why a mount was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// Relative, or with `..` in it.
    #[error("`{0}` is not an absolute, resolved path")]
    Relative(String),
    /// It would show what a sandbox must not see, or hide what it is made of.
    #[error("`{0}` cannot be mounted: a sandbox is never given the host's root, system folders or devices; name the folder the work is in")]
    Reserved(String),
    /// Too many.
    #[error("more than {MOUNTS_MAX} mounts")]
    TooMany,
}

/// Folders whose whole tree stays the root's own.
const RESERVED_TREES: [&str; 12] =
    ["/proc", "/sys", "/dev", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/run", "/.creto"];
/// Folders that may hold a mount but not be one.
const RESERVED_SELF: [&str; 8] = ["/", "/tmp", "/home", "/root", "/var", "/opt", "/mnt", "/boot"];

impl Mount {
    /// A mount of `path`, which the caller has resolved (no symbolic link in it).
    pub fn new(path: &Path, writable: bool) -> Result<Self, MountError> {
        let shown = || path.display().to_string();
        let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !plain || path.to_str().is_none() {
            return Err(MountError::Relative(shown()));
        }
        let reserved = RESERVED_TREES.iter().any(|tree| path.starts_with(tree)) || RESERVED_SELF.iter().any(|own| path == Path::new(own));
        if reserved { Err(MountError::Reserved(shown())) } else { Ok(Self { path: path.to_owned(), writable }) }
    }

    /// The path, outside and inside.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the sandbox may write to it.
    #[must_use]
    pub const fn writable(&self) -> bool {
        self.writable
    }
}

/// What a sandbox may use. `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory of the whole sandbox, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time, in thousandths of one processor.
    pub cpu_millis: Option<u32>,
    /// Tasks of the whole sandbox. The sandbox's own kernel needs about 60 of them.
    pub pids: Option<u32>,
}

/// Tasks that gVisor's kernel itself may need, added to what was asked for.
const KERNEL_PIDS: u32 = 128;
/// Open files of one process inside.
const OPEN_FILES: u32 = 65_536;

/// How one of [`USR_LINKS`] looks on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootEntry {
    /// A link, with its target.
    Link(String),
    /// A folder of its own.
    Folder,
}

/// What the host has, seen once at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostLayout {
    /// Those of [`USR_LINKS`] that exist.
    pub root: BTreeMap<String, RootEntry>,
    /// Those of [`ETC_SHARED`] that exist, and whether each is a folder.
    pub etc: BTreeMap<String, bool>,
}

/// What one sandbox is to be.
#[derive(Clone, Debug)]
pub struct BundlePlan<'a> {
    /// Host name inside.
    pub hostname: &'a str,
    /// The host's folder that will hold the egress socket.
    pub socket_dir: &'a Path,
    /// Extra mounts, each with whether it is a folder.
    pub mounts: &'a [(Mount, bool)],
    /// What it may use.
    pub limits: Limits,
    /// The control group to make, where the runtime may make one.
    pub cgroup: Option<&'a str>,
    /// Whether the `statx` shim is preloaded.
    pub shim: bool,
    /// The host's file to show at [`PROGRAM_PATH`].
    pub program: Option<&'a Path>,
}

/// A bundle as values: the shell writes it down.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Folders of the root, parents first, without a leading slash.
    pub folders: Vec<String>,
    /// Links of the root: path and target.
    pub links: Vec<(String, String)>,
    /// Files of the root: path and content.
    pub files: Vec<(String, String)>,
    /// `config.json`.
    pub config: Value,
}

/// Designs the bundle.
#[must_use]
pub fn design(plan: &BundlePlan<'_>, host: &HostLayout) -> Bundle {
    let mut bundle = skeleton(plan);
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        memory("/tmp", "1777"),
        memory("/var/tmp", "1777"),
        memory(HOME_DIR, "0755"),
        bind("/usr", "/usr", false),
    ];
    for (name, entry) in &host.root {
        match entry {
            RootEntry::Link(target) => bundle.links.push((name.clone(), target.clone())),
            RootEntry::Folder => {
                bundle.folders.push(name.clone());
                mounts.push(bind(&format!("/{name}"), &format!("/{name}"), false));
            }
        }
    }
    for (name, is_folder) in &host.etc {
        bundle.hold_place(Path::new("/etc").join(name).as_path(), *is_folder);
        mounts.push(bind(&format!("/etc/{name}"), &format!("/etc/{name}"), false));
    }
    mounts.push(bind(SOCKET_DIR, &plan.socket_dir.to_string_lossy(), true));
    if let Some(program) = plan.program {
        bundle.hold_place(Path::new(PROGRAM_PATH), false);
        mounts.push(bind(PROGRAM_PATH, &program.to_string_lossy(), false));
    }
    // Outer folders first, so that an inner mount is not covered by an outer one.
    let mut extra: Vec<&(Mount, bool)> = plan.mounts.iter().collect();
    extra.sort();
    for (mount, is_folder) in extra {
        let path = mount.path.to_string_lossy();
        if !["/tmp", "/var/tmp", HOME_DIR].iter().any(|own| mount.path.starts_with(own)) {
            bundle.hold_place(&mount.path, *is_folder);
        }
        mounts.push(bind(&path, &path, mount.writable));
    }
    bundle.config = config(plan, &mounts);
    bundle
}

impl Bundle {
    /// Makes the empty folder or file a mount needs under it.
    fn hold_place(&mut self, path: &Path, is_folder: bool) {
        let relative = path.strip_prefix("/").unwrap_or(path).to_string_lossy().into_owned();
        if is_folder {
            self.folders.push(relative);
        } else {
            if let Some(parent) = Path::new(&relative).parent() {
                self.folders.push(parent.to_string_lossy().into_owned());
            }
            self.files.push((relative, String::new()));
        }
    }
}

fn skeleton(plan: &BundlePlan<'_>) -> Bundle {
    let folders = ["proc", "sys", "dev", "tmp", "var/tmp", "usr", "etc", "root", "home/agent", "run/creto", "opt", "mnt", ".creto"];
    let mut files = vec![
        ("etc/passwd", "root:x:0:0:agent:/home/agent:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n".to_owned()),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n".to_owned()),
        ("etc/hosts", "127.0.0.1 localhost creto.internal\n::1 localhost\n".to_owned()),
        ("etc/hostname", format!("{}\n", plan.hostname)),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n".to_owned()),
        ("etc/resolv.conf", "# no resolver: names are resolved by the egress proxy, after the policy has spoken\n".to_owned()),
    ];
    if plan.shim {
        files.push(("etc/ld.so.preload", format!("{SHIM_PATH}\n")));
    }
    Bundle {
        folders: folders.map(str::to_owned).to_vec(),
        links: Vec::new(),
        files: files.into_iter().map(|(path, text)| (path.to_owned(), text)).collect(),
        config: Value::Null,
    }
}

fn bind(destination: &str, source: &str, writable: bool) -> Value {
    let mode = if writable { "rw" } else { "ro" };
    json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", "nosuid", "nodev", mode]})
}

fn memory(destination: &str, mode: &str) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", format!("mode={mode}")]})
}

fn config(plan: &BundlePlan<'_>, mounts: &[Value]) -> Value {
    // Port 80 of the sandbox's own loopback is the agent's; no other capability is given to anybody.
    let capabilities = json!(["CAP_NET_BIND_SERVICE"]);
    let mut linux = json!({
        "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
    });
    if let (Some(cgroup), Some(linux)) = (plan.cgroup, linux.as_object_mut()) {
        linux.insert("cgroupsPath".to_owned(), json!(cgroup));
        linux.insert("resources".to_owned(), resources(plan.limits));
    }
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": [AGENT_PATH],
            "env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities, "inheritable": [], "ambient": []},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": OPEN_FILES, "soft": OPEN_FILES}, {"type": "RLIMIT_CORE", "hard": 0, "soft": 0}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": plan.hostname,
        "mounts": mounts,
        "linux": linux,
    })
}

fn resources(limits: Limits) -> Value {
    let mut resources = serde_json::Map::new();
    if let Some(bytes) = limits.memory_bytes {
        resources.insert("memory".to_owned(), json!({"limit": bytes}));
    }
    if let Some(millis) = limits.cpu_millis {
        resources.insert("cpu".to_owned(), json!({"quota": u64::from(millis) * 100, "period": 100_000}));
    }
    if let Some(pids) = limits.pids {
        resources.insert("pids".to_owned(), json!({"limit": u64::from(pids) + u64::from(KERNEL_PIDS)}));
    }
    Value::Object(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan<'a>(mounts: &'a [(Mount, bool)]) -> BundlePlan<'a> {
        let limits = Limits { memory_bytes: Some(1 << 28), cpu_millis: Some(500), pids: Some(10) };
        BundlePlan { hostname: "sandbox", socket_dir: Path::new("/state/run"), mounts, limits, cgroup: None, shim: false, program: None }
    }

    fn sources(bundle: &Bundle) -> Vec<(String, bool)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mounts = bundle.config["mounts"].as_array().unwrap();
        let bound = mounts.iter().filter(|m| m["type"] == "bind");
        bound.map(|m| (text(&m["source"]), m["options"].as_array().unwrap().contains(&json!("rw")))).collect()
    }

    #[test]
    fn nothing_of_the_host_is_writable_but_the_socket_and_what_was_asked() {
        let mounts =
            [(Mount::new(Path::new("/srv/data"), false).unwrap(), true), (Mount::new(Path::new("/srv/data/out"), true).unwrap(), true)];
        let host = HostLayout {
            root: BTreeMap::from([("bin".to_owned(), RootEntry::Link("usr/bin".to_owned())), ("lib".to_owned(), RootEntry::Folder)]),
            etc: BTreeMap::from([("ssl/certs".to_owned(), true), ("localtime".to_owned(), false)]),
        };
        let bundle = design(&plan(&mounts), &host);
        let expected = [
            ("/usr", false),
            ("/lib", false),
            ("/etc/localtime", false),
            ("/etc/ssl/certs", false),
            ("/state/run", true),
            ("/srv/data", false),
            ("/srv/data/out", true),
        ];
        assert_eq!(sources(&bundle), expected.map(|(path, rw)| (path.to_owned(), rw)));
        assert_eq!(bundle.links, [("bin".to_owned(), "usr/bin".to_owned())]);
        assert_eq!(bundle.config["root"]["readonly"], json!(true));
        assert!(bundle.folders.contains(&"srv/data/out".to_owned()));
    }

    #[test]
    fn system_folders_cannot_be_mounted() {
        for bad in [
            "/",
            "/etc",
            "/etc/shadow",
            "/proc/1",
            "/dev/kvm",
            "/usr/lib",
            "/run/docker.sock",
            "/root",
            "/home",
            "/tmp",
            "relative",
            "/srv/../etc",
            "/.creto",
        ] {
            assert!(Mount::new(Path::new(bad), false).is_err(), "{bad}");
        }
        for good in ["/srv", "/home/ann/project", "/srv/project", "/tmp/x", "/opt/tool"] {
            assert!(Mount::new(Path::new(good), true).is_ok(), "{good}");
        }
    }

    #[test]
    fn limits_are_written_only_where_a_control_group_will_hold_them() {
        assert_eq!(design(&plan(&[]), &HostLayout::default()).config["linux"].get("resources"), None);
        let grouped = BundlePlan { cgroup: Some("/creto/x"), ..plan(&[]) };
        let linux = &design(&grouped, &HostLayout::default()).config["linux"];
        assert_eq!(
            linux["resources"],
            json!({"memory": {"limit": 1 << 28}, "cpu": {"quota": 50_000, "period": 100_000}, "pids": {"limit": 138}})
        );
    }
}
