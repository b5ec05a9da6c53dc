//! The options of the scenarios, and the target they agree on.

use crate::client::Error;
use crate::client::options::{parse_qos, parse_version};
use crate::client::tls::{TlsArgs, server_name};
use ravelin_mqtt::{QoS, Version};
use ravelin_protect::Secret;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// Whom to measure, and how to report. No `Debug`: it may hold a password.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// The broker's host: loopback, unless --dangerous-remote-target is given
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// The broker's port
    #[arg(short = 'p', long, value_name = "PORT", default_value_t = 1883)]
    port: u16,
    /// MQTT version: 4 (3.1.1) or 5
    #[arg(long, value_name = "VERSION", default_value = "4", value_parser = parse_version)]
    mqtt: Version,
    /// User name
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Password
    #[arg(long, value_name = "PASSWORD", requires = "username")]
    password: Option<String>,
    /// Client identifiers start with this [default: one of this run]
    #[arg(long, value_name = "PREFIX")]
    client_prefix: Option<String>,
    /// Keep Alive in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    keep_alive: u16,
    /// Measure CPU time and memory of this process and its children
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// Seconds that connecting and subscribing may take
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    timeout: Duration,
    /// Allow a target that is not this machine: only with the consent of whoever runs it
    #[arg(long)]
    dangerous_remote_target: bool,
    /// Print one line of JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Connect over TLS; trust is given with --cafile
    #[arg(long, help_heading = "TLS")]
    tls: bool,
    /// The name that the server's certificate must have [default: the host]
    #[arg(long, value_name = "NAME", help_heading = "TLS")]
    server_name: Option<String>,
    /// A full handshake for every connection
    #[arg(long, help_heading = "TLS")]
    no_tls_resume: bool,
    #[command(flatten)]
    tls_files: TlsArgs,
}

/// Whom to measure, checked.
#[derive(Clone)]
pub struct Target {
    /// The address.
    pub address: SocketAddr,
    /// The MQTT version.
    pub version: Version,
    /// TLS: the configuration and the server's name.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// What client identifiers start with.
    pub client_prefix: String,
    /// Keep Alive in seconds.
    pub keep_alive_s: u16,
    /// The broker's process.
    pub broker_pid: Option<u32>,
    /// How long connecting and subscribing may take.
    pub timeout: Duration,
}

impl TargetArgs {
    /// Checks the options.
    pub fn resolve(&self) -> Result<Target, Error> {
        let address = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|source| Error::Resolve { host: self.host.clone(), source })?
            .next()
            .ok_or_else(|| Error::Usage(format!("host {} has no address", self.host)))?;
        if !address.ip().is_loopback() && !self.dangerous_remote_target {
            return Err(Error::Usage(format!(
                "{} is not this machine: a benchmark is an attack on a broker that serves others. If whoever runs it agreed, \
                 say --dangerous-remote-target",
                address.ip()
            )));
        }
        Ok(Target {
            address,
            version: self.mqtt,
            tls: self.tls_config()?,
            username: self.username.clone(),
            password: self.password.clone().map(Secret::new),
            client_prefix: self
                .client_prefix
                .clone()
                .unwrap_or_else(|| format!("bench-{}-", std::process::id())),
            keep_alive_s: self.keep_alive,
            broker_pid: self.broker_pid,
            timeout: self.timeout,
        })
    }

    fn tls_config(&self) -> Result<Option<(Arc<ClientConfig>, ServerName<'static>)>, Error> {
        if !self.tls {
            if self.tls_files.asks_for_tls() {
                return Err(Error::Usage("certificates are for TLS: say --tls as well".into()));
            }
            return Ok(None);
        }
        let mut config = self.tls_files.config()?;
        if self.no_tls_resume {
            config.resumption = Resumption::disabled();
        }
        let name = server_name(self.server_name.as_deref().unwrap_or(&self.host))?;
        Ok(Some((Arc::new(config), name)))
    }
}

/// How much is published, and for how long.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct LoadArgs {
    /// QoS of messages and subscriptions
    #[arg(long, value_name = "QOS", default_value = "0", value_parser = parse_qos)]
    pub qos: QoS,
    /// Bytes of a payload, at least 20
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub size: usize,
    /// Seconds that are measured
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    pub duration: Duration,
    /// Seconds before that
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    pub warmup: Duration,
    /// Seconds without any delivery after which what is missing counts as lost
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = parse_seconds)]
    pub drain: Duration,
    /// Closed loop: messages of a publisher that may be undelivered
    #[arg(long, value_name = "MESSAGES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub window: u32,
    /// Open loop: messages a second of all publishers together; latency counts from when a message was due
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "window", value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// Messages of a publisher at QoS 1 and 2 that may be unacknowledged
    #[arg(long, value_name = "MESSAGES", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub inflight: u16,
}

/// Parses seconds with a fraction.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds, for example 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|why| why.to_string())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("expected messages a second, for example 1000".into()),
    }
}

/// Raises the limit of open files as far as it goes; gives the limit.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = Some(1_048_576);
    // Root may raise the hard limit, everyone else the soft one up to it.
    if setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted.max(now.maximum) }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        load: LoadArgs,
    }

    fn parse(line: &str) -> Result<Line, clap::Error> {
        Line::try_parse_from(std::iter::once("bench").chain(line.split(' ').filter(|word| !word.is_empty())))
    }

    fn refusal(line: &str) -> String {
        match parse(line).unwrap().target.resolve() {
            Err(Error::Usage(why)) => why,
            Err(other) => panic!("{line}: {other}"),
            Ok(_) => panic!("{line} was accepted"),
        }
    }

    #[test]
    fn only_this_machine_unless_told() {
        assert!(refusal("--host 192.0.2.1").contains("--dangerous-remote-target"));
        assert!(parse("--host 192.0.2.1 --dangerous-remote-target").unwrap().target.resolve().is_ok());
        for line in ["", "--host 127.0.0.9", "--host ::1", "--host localhost"] {
            assert!(parse(line).unwrap().target.resolve().is_ok(), "{line}");
        }
    }

    #[test]
    fn tls_is_asked_for_by_name() {
        assert!(refusal("--dangerous-insecure").contains("--tls"));
        assert!(parse("--tls --dangerous-insecure").unwrap().target.resolve().unwrap().tls.is_some());
    }

    #[test]
    fn a_loop_is_open_or_closed() {
        assert!(parse("--rate 10 --window 5").is_err());
        assert!(parse("--rate 0").is_err());
        assert!(parse("--window 0").is_err());
        assert!(parse("--inflight 0").is_err());
        assert_eq!(parse("--duration 0.5").unwrap().load.duration, Duration::from_millis(500));
    }
}
