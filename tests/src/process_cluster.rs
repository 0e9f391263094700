//! Clusters of real processes: the `polylite` binary on free ports of 127.0.0.1, with data in a temporary
//! folder. Only processes started here are ever ended, and all of them are when their owner is dropped.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::binary::polylite;
use crate::proxy::Proxy;

/// Longest wait for a server's ready line, and for its end.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a command has answered.
#[derive(Debug)]
pub struct CommandOutput {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl CommandOutput {
    /// Stdout of a command that must have ended well.
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs `polylite` with these arguments. `home` stands for the user's data directory, and nothing of the
/// environment's `POLYLITE_…` is seen.
#[must_use]
pub fn run(home: &Path, arguments: &[&str]) -> CommandOutput {
    run_with_input(home, arguments, Stdio::null())
}

/// As [`run`], with something to read.
#[must_use]
pub fn run_with_input(home: &Path, arguments: &[&str], input: Stdio) -> CommandOutput {
    let output = command(home).args(arguments).stdin(input).output().expect("the binary runs");
    CommandOutput {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// The binary, to be given arguments.
#[must_use]
pub fn command(home: &Path) -> Command {
    let mut command = Command::new(polylite());
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("POLYLITE_")) {
        command.env_remove(name);
    }
    command.env("XDG_DATA_HOME", home).env("HOME", home).env("TERM", "xterm").current_dir(home);
    command
}

/// A running server.
pub struct ServerProcess {
    child: Child,
    url: String,
    lines: Receiver<String>,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts `polylite <role> <flags>` and waits for its ready line. Its log goes to `log`.
    #[must_use]
    pub fn start(home: &Path, role: &str, flags: &[&str], log: &Path) -> ServerProcess {
        match ServerProcess::try_start(home, role, flags, log) {
            Ok(server) => server,
            Err(output) => panic!("{role} {flags:?} did not start: {output:?}"),
        }
    }

    /// As [`ServerProcess::start`], for a start that is expected to be refused.
    pub fn try_start(
        home: &Path,
        role: &str,
        flags: &[&str],
        log: &Path,
    ) -> Result<ServerProcess, CommandOutput> {
        let mut server = command(home);
        server.arg(role).args(flags);
        ServerProcess::try_start_command(server, role, log)
    }

    /// Starts a command that is to become a server of this role, and waits for its ready line.
    pub fn try_start_command(
        mut server: Command,
        role: &str,
        log: &Path,
    ) -> Result<ServerProcess, CommandOutput> {
        let stderr = std::fs::File::options().create(true).append(true).open(log).expect("the log opens");
        let mut child = server
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the binary runs");
        let lines = lines_of(child.stdout.take().expect("stdout is piped"));
        let first = lines.recv_timeout(PATIENCE);
        let url =
            first.as_ref().ok().and_then(|line| line.strip_prefix(&format!("polylite {role} ready at ")));
        if let Some(url) = url {
            return Ok(ServerProcess { url: url.to_owned(), child, lines, log: log.to_owned() });
        }
        if first == Err(RecvTimeoutError::Timeout) {
            child.kill().expect("the process is ours");
        }
        let code = child.wait().expect("the process is ours").code();
        let stderr = std::fs::read_to_string(log).expect("the log is readable");
        Err(CommandOutput { code, stdout: first.unwrap_or_default(), stderr })
    }

    /// `http://host:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        let (_, port) = self.url.rsplit_once(':').expect("a URL with a port");
        port.parse().expect("a port")
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line on stdout.
    #[must_use]
    pub fn next_line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("one more line on stdout")
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log is readable")
    }

    /// Ends it at once, as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }

    /// Sends it a signal by name, such as `TERM`, `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(sent.expect("kill runs").success(), "SIG{name} reaches process {}", self.id());
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        // Stdout is closed when the process ends, which closes the channel.
        let deadline = Instant::now() + PATIENCE;
        while self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            != Err(RecvTimeoutError::Disconnected)
        {
            assert!(Instant::now() < deadline, "process {} still runs: {}", self.id(), self.log());
        }
        self.child.wait().expect("the process is ours")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended already; either way nothing of it is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("--- the last of {}:", self.log.display());
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Lines as they come, until the writer is gone.
fn lines_of(stdout: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // The test may not care for the rest; the pipe must be emptied all the same.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// One server of a cluster, running or not.
struct Member {
    name: String,
    role: &'static str,
    /// Flags of its own beside the usual ones.
    flags: Vec<String>,
    port: u16,
    process: Option<ServerProcess>,
    /// What others are told to reach it by, if it is not its port.
    way: Option<Proxy>,
}

/// Coordinators and storage nodes as processes of their own.
pub struct ProcessCluster {
    /// The host that servers are told to listen on.
    host: &'static str,
    folder: TempDir,
    /// Variables that servers find in their environment.
    environment: &'static [(&'static str, &'static str)],
    coordinators: Vec<Member>,
    nodes: Vec<Member>,
}

impl ProcessCluster {
    /// Starts a cluster and waits until all of its storage nodes are active.
    #[must_use]
    pub fn start(coordinators: usize, nodes: usize) -> ProcessCluster {
        ProcessCluster::start_at("127.0.0.1", coordinators, nodes)
    }

    /// As [`ProcessCluster::start`], with further variables in the servers' environment.
    #[must_use]
    pub fn start_in(
        environment: &'static [(&'static str, &'static str)],
        coordinators: usize,
        nodes: usize,
    ) -> ProcessCluster {
        ProcessCluster { environment, ..ProcessCluster::empty("127.0.0.1") }.grown(coordinators, nodes)
    }

    /// As [`ProcessCluster::start`], with a way to each storage node that can be cut: the coordinators and the other
    /// storage nodes know no other one.
    #[must_use]
    pub fn start_with_ways(coordinators: usize, nodes: usize) -> ProcessCluster {
        let mut cluster = ProcessCluster::empty("127.0.0.1").grown(coordinators, 0);
        for _ in 0..nodes {
            let way = Proxy::start();
            let flags = ["--advertise".to_owned(), format!("127.0.0.1:{}", way.port())];
            cluster.add_node_behind(&[&flags[0], &flags[1]], Some(way));
        }
        cluster.await_active_nodes(nodes);
        cluster
    }

    /// The way to a storage node, if it can be cut.
    #[must_use]
    pub fn way_to_node(&self, number: usize) -> Option<&Proxy> {
        self.nodes[number].way.as_ref()
    }

    fn empty(host: &'static str) -> ProcessCluster {
        let folder = tempfile::tempdir().expect("a temporary folder");
        ProcessCluster { host, folder, environment: &[], coordinators: Vec::new(), nodes: Vec::new() }
    }

    fn grown(mut self, coordinators: usize, nodes: usize) -> ProcessCluster {
        for _ in 0..coordinators {
            self.add_coordinator();
        }
        for _ in 0..nodes {
            self.add_node();
        }
        self.await_active_nodes(nodes);
        self
    }

    /// As [`ProcessCluster::start`], with another name of this machine that the servers are given as their host.
    #[must_use]
    pub fn start_at(host: &'static str, coordinators: usize, nodes: usize) -> ProcessCluster {
        ProcessCluster::empty(host).grown(coordinators, nodes)
    }

    /// Starts a cluster of one coordinator and some storage nodes, each with further flags, and waits until all
    /// nodes are active.
    #[must_use]
    pub fn start_with(coordinator: &[&str], nodes: usize, node: &[&str]) -> ProcessCluster {
        let mut cluster = ProcessCluster::empty("127.0.0.1");
        cluster.add_coordinator_with(coordinator.iter().map(|&flag| flag.to_owned()).collect());
        (0..nodes).for_each(|_| {
            cluster.add_node_with(node);
        });
        cluster.await_active_nodes(nodes);
        cluster
    }

    /// Starts one more coordinator, which joins the first one's cluster, and gives its number.
    pub fn add_coordinator(&mut self) -> usize {
        let first = self.coordinators.first().map(Member::url);
        self.add_coordinator_with(first.map(|url| vec!["--join".to_owned(), url]).unwrap_or_default())
    }

    /// Starts one more coordinator, which founds a cluster of its own, and gives its number.
    pub fn add_lone_coordinator(&mut self) -> usize {
        self.add_coordinator_with(Vec::new())
    }

    fn add_coordinator_with(&mut self, flags: Vec<String>) -> usize {
        let number = self.coordinators.len();
        let name = format!("coordinator-{number}");
        self.coordinators.push(Member {
            name,
            role: "coordinator",
            flags,
            port: 0,
            process: None,
            way: None,
        });
        self.restart_coordinator(number);
        number
    }

    /// Starts one more storage node, and gives its number. Its id is `node-<number>`.
    pub fn add_node(&mut self) -> usize {
        self.add_node_with(&[])
    }

    /// The same, with further flags.
    pub fn add_node_with(&mut self, flags: &[&str]) -> usize {
        self.add_node_behind(flags, None)
    }

    fn add_node_behind(&mut self, flags: &[&str], way: Option<Proxy>) -> usize {
        let number = self.nodes.len();
        let name = format!("node-{number}");
        self.nodes.push(Member {
            flags: ["--node-id", &name].iter().chain(flags).map(|&flag| flag.to_owned()).collect(),
            name,
            role: "storage-node",
            port: 0,
            process: None,
            way,
        });
        self.restart_node(number);
        number
    }

    /// Starts a coordinator that was killed or stopped, on its old directory and port.
    pub fn restart_coordinator(&mut self, number: usize) {
        let started = start_member(self, &self.coordinators[number], &[]);
        let member = &mut self.coordinators[number];
        member.port = started.port();
        member.process = Some(started);
    }

    /// Starts a storage node that was killed or stopped, on its old directory and port.
    pub fn restart_node(&mut self, number: usize) {
        let urls: Vec<String> = self.coordinators.iter().map(Member::url).collect();
        let flags: Vec<&str> = urls.iter().flat_map(|url| ["--coordinator", url]).collect();
        let started = start_member(self, &self.nodes[number], &flags);
        let member = &mut self.nodes[number];
        member.port = started.port();
        if let Some(way) = &member.way {
            way.lead_to(member.port);
        }
        member.process = Some(started);
    }

    /// A coordinator that runs.
    #[must_use]
    pub fn coordinator(&mut self, number: usize) -> &mut ServerProcess {
        self.coordinators[number].process.as_mut().expect("the coordinator runs")
    }

    /// A storage node that runs.
    #[must_use]
    pub fn node(&mut self, number: usize) -> &mut ServerProcess {
        self.nodes[number].process.as_mut().expect("the storage node runs")
    }

    /// Kills a coordinator as a crash would.
    pub fn kill_coordinator(&mut self, number: usize) {
        self.coordinators[number].process.take().expect("the coordinator runs").kill();
    }

    /// Kills a storage node as a crash would.
    pub fn kill_node(&mut self, number: usize) {
        self.nodes[number].process.take().expect("the storage node runs").kill();
    }

    /// Asks a storage node to end (SIGTERM), and waits until it has.
    pub fn stop_node(&mut self, number: usize) {
        let ended = self.nodes[number].process.take().expect("the storage node runs").stop();
        assert!(ended.success(), "the storage node ended with {ended}");
    }

    /// Asks a coordinator to end (SIGTERM), and waits until it has.
    pub fn stop_coordinator(&mut self, number: usize) {
        let ended = self.coordinators[number].process.take().expect("the coordinator runs").stop();
        assert!(ended.success(), "the coordinator ended with {ended}");
    }

    /// A coordinator's address, whether it runs or not.
    #[must_use]
    pub fn coordinator_url(&self, number: usize) -> String {
        self.coordinators[number].url()
    }

    /// A storage node's address, whether it runs or not.
    #[must_use]
    pub fn node_url(&self, number: usize) -> String {
        self.nodes[number].url()
    }

    /// The folder of everything: one per process, named `coordinator-<n>` or `node-<n>`, and its log beside.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether a storage node runs.
    #[must_use]
    pub fn node_runs(&self, number: usize) -> bool {
        self.nodes[number].process.is_some()
    }

    /// Whether a coordinator runs.
    #[must_use]
    pub fn coordinator_runs(&self, number: usize) -> bool {
        self.coordinators[number].process.is_some()
    }

    /// Addresses of all coordinators, whether they run or not.
    #[must_use]
    pub fn coordinator_urls(&self) -> Vec<String> {
        self.coordinators.iter().map(Member::url).collect()
    }

    /// Addresses of the storage nodes that run.
    #[must_use]
    pub fn running_node_urls(&self) -> Vec<String> {
        self.nodes.iter().filter(|member| member.process.is_some()).map(Member::url).collect()
    }

    /// Folders of all storage nodes.
    #[must_use]
    pub fn node_folders(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|member| self.folder.path().join(&member.name)).collect()
    }

    /// Asks every process that runs to end (SIGTERM), and waits until all have.
    pub fn stop_all(&mut self) {
        let members = || self.nodes.iter().chain(&self.coordinators);
        members().filter_map(|member| member.process.as_ref()).for_each(|process| process.signal("TERM"));
        for member in self.nodes.iter_mut().chain(&mut self.coordinators) {
            if let Some(mut process) = member.process.take() {
                let status = process.wait();
                assert!(status.success(), "{} ended with {status}: {}", member.name, process.log());
            }
        }
    }

    /// Removes everything that a storage node that does not run has written.
    pub fn wipe_node(&mut self, number: usize) {
        assert!(!self.node_runs(number), "a node that runs keeps its files");
        let folder = self.folder.path().join(&self.nodes[number].name);
        std::fs::remove_dir_all(folder).expect("the node's files are removed");
    }

    /// Gives up the port of a storage node that does not run: it will come back at another address.
    pub fn forget_node_port(&mut self, number: usize) {
        assert!(!self.node_runs(number), "a node that runs keeps its port");
        self.nodes[number].port = 0;
    }

    /// Runs a command of the binary against the coordinators that run.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> CommandOutput {
        let running = self.coordinators.iter().filter(|member| member.process.is_some());
        let urls: Vec<String> = running.map(Member::url).collect();
        let mut all = arguments.to_vec();
        all.splice(1..1, urls.iter().flat_map(|url| ["--coordinator", url.as_str()]));
        run(self.folder.path(), &all)
    }

    /// Runs SQL against a database and gives the rows as JSON text, one array of objects.
    #[must_use]
    #[track_caller]
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let output = self.run(&["sql", "--db-name", database, "--output", "json", statement]);
        output.succeeded().trim_end().to_owned()
    }

    /// Waits until so many storage nodes are active.
    pub fn await_active_nodes(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = self.run(&["nodes", "--output", "csv"]);
            let active = listed.stdout.lines().filter(|line| line.contains(",active,")).count();
            if active >= count {
                return;
            }
            assert!(Instant::now() < deadline, "{active} of {count} nodes are active: {listed:?}");
        }
    }
}

impl Member {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn start_member(cluster: &ProcessCluster, member: &Member, flags: &[&str]) -> ServerProcess {
    assert!(member.process.is_none(), "{} runs already", member.name);
    let port = member.port.to_string();
    let folder = cluster.folder.path();
    let data = folder.join(&member.name);
    let data = data.to_str().expect("temporary folders have names in UTF-8");
    let mut all = vec!["--host", cluster.host, "--port", &port, "--data-dir", data, "--log-level", "info"];
    all.extend(member.flags.iter().map(String::as_str).chain(flags.iter().copied()));
    let log = folder.join(format!("{}.log", member.name));
    let mut server = command(folder);
    server.arg(member.role).args(&all).envs(cluster.environment.iter().copied());
    match ServerProcess::try_start_command(server, member.role, &log) {
        Ok(server) => server,
        Err(output) => panic!("{} {all:?} did not start: {output:?}", member.role),
    }
}
