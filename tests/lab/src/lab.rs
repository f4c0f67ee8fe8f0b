//! The lab as a whole: up, down, and the way to its parts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    api, clean, command, control_plane,
    daemon::Daemon,
    dhcp::{DhcpConfig, DhcpServer},
    error::{Error, Result},
    gateway,
    host::Host,
    images,
    lab_dir::{LAB_FILE, LabDir, state_dir},
    name::LabName,
    network, node, packages, pki, poll,
    programs::Programs,
    progress::Progress,
    topology::{self, CONTROL_PLANE, HostSpec, MAX_NODES, Network, SWITCH},
};

/// What a lab is to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Its name: part of those of its namespaces.
    pub name: LabName,
    /// How many nodes.
    pub nodes: u8,
    /// The DHCP server of the private network.
    pub private: DhcpConfig,
    /// The DHCP server of the public network.
    pub public: DhcpConfig,
}

impl Default for Config {
    /// `foghorn`, three nodes.
    fn default() -> Self {
        Self {
            name: LabName::default(),
            nodes: 3,
            private: DhcpConfig::of(Network::Private),
            public: DhcpConfig::of(Network::Public),
        }
    }
}

impl Config {
    fn check(&self) -> Result<()> {
        if !(1..=MAX_NODES).contains(&self.nodes) {
            return Err(Error::Config(format!("{} nodes: a lab has 1 to {MAX_NODES}", self.nodes)));
        }
        Ok(())
    }
}

/// A running lab. Dropping it leaves it running: [`Lab::down`] ends it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lab {
    config: Config,
    programs: Programs,
}

impl Lab {
    /// Starts a lab, having removed what is left of a crashed one of that name, and waits until its nodes are Ready. What it
    /// needs is installed and built first. What it does goes to standard output.
    ///
    /// # Errors
    /// [`Error::AlreadyUp`], or what did not start, with the end of its log.
    pub fn up(config: Config) -> Result<Self> {
        config.check()?;
        be_root()?;
        if Self::open(&config.name).is_ok_and(|lab| lab.is_running()) {
            return Err(Error::AlreadyUp(config.name));
        }
        packages::install_missing()?;
        let lab = Self { config, programs: Programs::find_or_build(&Progress::default())? };
        let images = images::build_lab_images()?;
        clean::remove(lab.name())?;
        LabDir::of(lab.name()).create()?;
        network::create(&lab)?;
        pki::create(&lab.pki(), lab.config.nodes)?;
        let nodes = lab.nodes();

        let mut first: Vec<Task<'_>> = vec![
            Box::new(|| control_plane::start_storage_and_api(&lab)),
            Box::new(|| {
                gateway::start(&lab)?;
                lab.dhcp(Network::Private).configure(&lab.config.private)?;
                lab.dhcp(Network::Public).configure(&lab.config.public)
            }),
        ];
        let (lab_ref, images) = (&lab, &images);
        first.extend(
            nodes
                .iter()
                .map(|host| -> Task<'_> { Box::new(move || node::start_runtime(lab_ref, host, images)) }),
        );
        parallel(first)?;

        let mut second: Vec<Task<'_>> = vec![Box::new(|| control_plane::start_controllers(&lab))];
        second.extend(
            nodes
                .iter()
                .map(|host| -> Task<'_> { Box::new(move || node::start_kubelet_and_proxy(lab_ref, host)) }),
        );
        parallel(second)?;
        lab.wait_until_ready(&nodes)?;
        lab.save()?;
        Ok(lab)
    }

    /// The running lab of this name.
    ///
    /// # Errors
    /// [`Error::NotUp`].
    pub fn open(name: &LabName) -> Result<Self> {
        let file = state_dir(name).join(LAB_FILE);
        if !file.exists() {
            return Err(Error::NotUp(name.clone()));
        }
        serde_json::from_str(&command::read(&file)?)
            .map_err(|error| Error::Malformed { what: file.display().to_string(), why: error.to_string() })
    }

    /// Ends a lab, running or crashed, and checks that nothing is left of it.
    ///
    /// # Errors
    /// [`Error::Leftovers`], [`Error::NotOurs`], or what could not be removed.
    pub fn down(name: &LabName) -> Result<()> {
        be_root()?;
        clean::remove(name)?;
        let left = clean::leftovers(name)?;
        if left.is_empty() {
            Ok(())
        } else {
            Err(Error::Leftovers { lab: name.clone(), what: left.join("\n") })
        }
    }

    /// The lab's name.
    #[must_use]
    pub fn name(&self) -> &LabName {
        &self.config.name
    }

    /// What the lab was made from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The lab's directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        state_dir(self.name())
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.dir().join("pki")
    }

    /// The programs that the lab runs on.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The administrator's kubeconfig; its server can be reached from the lab's hosts only.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.pki().join("admin.kubeconfig")
    }

    /// The hosts but the switch, with their cables.
    #[must_use]
    pub fn specs(&self) -> Vec<HostSpec> {
        topology::hosts(self.config.nodes)
    }

    /// A host by its name, `sw` included.
    ///
    /// # Errors
    /// [`Error::NoHost`] with the names there are.
    pub fn host(&self, name: &str) -> Result<Host> {
        let names = || self.specs().into_iter().map(|spec| spec.name).chain([SWITCH.to_owned()]);
        if names().any(|known| known == name) {
            return Ok(self.named(name));
        }
        let hosts = names().collect::<Vec<_>>().join(", ");
        Err(Error::NoHost { lab: self.name().clone(), host: name.to_owned(), hosts })
    }

    /// A node by its name.
    ///
    /// # Errors
    /// [`Error::NoHost`] with the names there are.
    pub fn node(&self, name: &str) -> Result<Host> {
        let found = self.nodes().into_iter().find(|host| host.name() == name);
        found.ok_or_else(|| {
            let hosts = self.nodes().iter().map(Host::name).collect::<Vec<_>>().join(", ");
            Error::NoHost { lab: self.name().clone(), host: name.to_owned(), hosts }
        })
    }

    /// The nodes, `w1` first.
    #[must_use]
    pub fn nodes(&self) -> Vec<Host> {
        (1..=self.config.nodes).map(|number| self.named(&topology::node_name(number))).collect()
    }

    /// The host whose interface has this hardware address.
    #[must_use]
    pub fn host_of_mac(&self, mac: &str) -> Option<String> {
        let has = |spec: &HostSpec| spec.cables.iter().any(|cable| cable.mac().eq_ignore_ascii_case(mac));
        self.specs().into_iter().find(has).map(|spec| spec.name)
    }

    /// The client on a network.
    #[must_use]
    pub fn client(&self, network: Network) -> Host {
        self.named(&network.client_host())
    }

    /// The switch: its bridges see all frames.
    #[must_use]
    pub fn switch(&self) -> Host {
        self.named(SWITCH)
    }

    /// The DHCP server of a network of the nodes.
    #[must_use]
    pub fn dhcp(&self, network: Network) -> DhcpServer {
        DhcpServer::new(self.named(&network.dhcp_host()), network)
    }

    pub(crate) fn named(&self, name: &str) -> Host {
        Host::new(self.name(), name)
    }

    /// A lab of which a process is missing has crashed.
    fn is_running(&self) -> bool {
        let hosts = self.specs().into_iter().map(|spec| self.named(&spec.name));
        let runs =
            |host: &Host| Daemon::names_of(host).iter().all(|name| Daemon::new(host, name).pid().is_some());
        hosts.into_iter().all(|host| runs(&host))
    }

    /// kubectl as the administrator, to be run as it is (e.g. with the terminal as its input).
    #[must_use]
    pub fn kubectl_command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = self.named(CONTROL_PLANE).command(&[self.programs.kube("kubectl")]);
        command.arg(format!("--kubeconfig={}", self.kubeconfig().display()));
        command.arg(format!("--cache-dir={}", self.dir().join("kubectl-cache").display()));
        command.args(args.iter().map(AsRef::as_ref));
        command
    }

    /// Runs kubectl as the administrator and gives its standard output.
    ///
    /// # Errors
    /// [`Error::Command`] with what it wrote.
    pub fn kubectl<S: AsRef<str>>(&self, args: &[S]) -> Result<String> {
        command::run(&mut self.kubectl_command(args))
    }

    /// [`Self::kubectl`] with `-o json`. Plain questions for one kind go to the API server directly.
    ///
    /// # Errors
    /// As [`Self::kubectl`] or [`Self::read_api`], and if the answer is no JSON.
    pub fn kubectl_json<S: AsRef<str>>(&self, args: &[S]) -> Result<Value> {
        let mut args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        if let Some(path) = api::path(&args) {
            return self.read_api(&path);
        }
        args.extend(["-o", "json"]);
        let text = self.kubectl(&args)?;
        let what = || format!("the answer to kubectl {}", args.join(" "));
        serde_json::from_str(&text).map_err(|error| Error::Malformed { what: what(), why: error.to_string() })
    }

    /// Applies manifests.
    ///
    /// # Errors
    /// [`Error::Command`] with what kubectl wrote.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        command::run_with_input(&mut self.kubectl_command(&["apply", "-f", "-"]), manifests)
    }

    /// Helm as the administrator, to be run as it is.
    #[must_use]
    pub fn helm_command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = self.named(CONTROL_PLANE).command(&[self.programs.helm()]);
        let home = |name: &str| self.dir().join("helm").join(name);
        command.env("KUBECONFIG", self.kubeconfig());
        command.env("HELM_CACHE_HOME", home("cache"));
        command.env("HELM_CONFIG_HOME", home("config"));
        command.env("HELM_DATA_HOME", home("data"));
        command.args(args.iter().map(AsRef::as_ref));
        command
    }

    /// Runs Helm as the administrator and gives its standard output.
    ///
    /// # Errors
    /// [`Error::Command`] with what it wrote.
    pub fn helm<S: AsRef<str>>(&self, args: &[S]) -> Result<String> {
        command::run(&mut self.helm_command(args))
    }

    /// Loads an image archive into each node.
    ///
    /// # Errors
    /// If a node's containerd refuses it.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let nodes = self.nodes();
        parallel(
            nodes.iter().map(|host| -> Task<'_> { Box::new(|| node::load_image(host, archive)) }).collect(),
        )
    }

    fn wait_until_ready(&self, nodes: &[Host]) -> Result<()> {
        let ready = r#"-o=jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
        poll::until("all nodes Ready", Duration::from_secs(60), || {
            for host in nodes {
                for daemon in ["containerd", "kubelet", "kube-proxy"] {
                    Daemon::new(host, daemon).check()?;
                }
            }
            let seen = self.kubectl(&["get", "nodes", ready])?;
            let all =
                nodes.iter().all(|host| seen.lines().any(|line| line == format!("{} True", host.name())));
            // Without it, Pods are refused.
            Ok((all && self.kubectl(&["get", "serviceaccount", "default"]).is_ok()).then_some(()))
        })
    }

    fn save(&self) -> Result<()> {
        let file = self.dir().join(LAB_FILE);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Malformed { what: file.display().to_string(), why: error.to_string() })?;
        fs::write(&file, text).map_err(Error::io(format!("writing {}", file.display())))
    }
}

fn be_root() -> Result<()> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Error::NotRoot) }
}

type Task<'a> = Box<dyn FnOnce() -> Result<()> + Send + 'a>;

/// Does all tasks at once; the first error of them, if any.
fn parallel(tasks: Vec<Task<'_>>) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = tasks.into_iter().map(|task| scope.spawn(task)).collect();
        let results: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        results.into_iter().try_for_each(|result| {
            result.unwrap_or_else(|_| Err(Error::Config("a thread of the lab panicked".to_owned())))
        })
    })
}
