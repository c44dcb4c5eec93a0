//! Packets lost for real: a rule of the kernel's packet filter within a network namespace.
//!
//! The rule stands at the input, behind the place where the capture looks: a packet that it drops
//! was on the wire, and its sender has to send it again. Only TCP segments to and from the nodes'
//! ports are lost, never the markers that prove the capture complete.

use std::io;
use std::process::Command;

use super::fault::Share;
use crate::units::Packets;

/// Why packets cannot be lost.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    /// The run is not in a namespace of its own.
    #[error(
        "loss=… needs a network namespace of its own, and this is the machine's own: `wirewatt run` \
         makes one"
    )]
    NoNamespace,
    /// A program that is needed cannot be started.
    #[error("loss=… needs {program}: {source}")]
    Program {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It refuses.
    #[error("loss=… cannot be arranged here: {program} says: {said}")]
    Refused {
        /// The program.
        program: &'static str,
        /// Its own words.
        said: String,
    },
}

/// Tells a process that it runs in a namespace which was made for it.
pub const NAMESPACE: &str = "WIREWATT_NAMESPACE";

/// Whether this process runs in a namespace that was made for it.
pub fn has_namespace() -> bool {
    std::env::var_os(NAMESPACE).is_some()
}

/// A command that runs this program with these arguments in a network namespace of its own. It has
/// been tried that one can be made.
///
/// # Errors
///
/// [`LossError`] where it cannot.
pub fn in_namespace(arguments: &[String]) -> Result<Command, LossError> {
    run("unshare", &["--net", "--", "true"])?;
    let program = std::env::current_exe().map_err(|source| LossError::Program {
        program: "this program's path",
        source,
    })?;
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--"])
        .arg(program)
        .args(arguments)
        .env(NAMESPACE, "1");
    Ok(command)
}

/// Brings up the loopback interface of this process's own namespace.
///
/// # Errors
///
/// [`LossError`] where there is no such namespace, or it cannot be done.
pub fn prepare() -> Result<(), LossError> {
    if !has_namespace() {
        return Err(LossError::NoNamespace);
    }
    run("ip", &["link", "set", "lo", "up"]).map(|_| ())
}

/// Packets are lost while this lives.
#[derive(Debug)]
pub struct Loss {
    rules: Vec<Vec<String>>,
}

impl Loss {
    /// Loses a share of the segments to and from these ports.
    ///
    /// # Errors
    ///
    /// [`LossError`] where there is no namespace or the kernel has no such rule.
    pub fn begin(share: Share, first_port: u16, last_port: u16) -> Result<Self, LossError> {
        if !has_namespace() {
            return Err(LossError::NoNamespace);
        }
        let mut loss = Self { rules: Vec::new() };
        let probability = format!("{:.6}", f64::from(share.millionths) / 1e6);
        let ports = format!("{first_port}:{last_port}");
        for end in ["--dport", "--sport"] {
            let rule = [
                "INPUT",
                "-i",
                "lo",
                "-p",
                "tcp",
                end,
                &ports,
                "-m",
                "statistic",
                "--mode",
                "random",
                "--probability",
                &probability,
                "-j",
                "DROP",
            ]
            .map(str::to_owned)
            .to_vec();
            filter("-A", &rule)?;
            loss.rules.push(rule);
        }
        Ok(loss)
    }

    /// How many packets were lost so far.
    pub fn lost(&self) -> Option<Packets> {
        let listed = run("iptables", &["-w", "-L", "INPUT", "-v", "-x", "-n"]).ok()?;
        let counts = listed.lines().filter(|line| line.contains("DROP"));
        let counts = counts.filter_map(|line| line.split_whitespace().next()?.parse().ok());
        Some(counts.map(Packets::new).sum())
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        for rule in &self.rules {
            // The namespace goes with its last process in any case.
            let _ = filter("-D", rule);
        }
    }
}

fn filter(action: &str, rule: &[String]) -> Result<(), LossError> {
    let rule = rule.iter().map(String::as_str);
    let arguments: Vec<&str> = ["-w", action].into_iter().chain(rule).collect();
    run("iptables", &arguments).map(|_| ())
}

fn run(program: &'static str, arguments: &[&str]) -> Result<String, LossError> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .output()
        .map_err(|source| LossError::Program { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LossError::Refused { program, said })
}
