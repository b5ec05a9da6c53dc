//! Bans, and failed log-ins.

use super::Ctl;
use super::table::{Table, or_dash, time};
use ravelin_console::api::bans::{BanEntry, BanMade, BanRequest, Cleared, LockoutItem, RateItem, RungItem};
use ravelin_console::client::{ClientError, segment};
use std::net::IpAddr;

/// Keep clients out, and let them in again.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct BanArgs {
    #[command(subcommand)]
    command: BanCommand,
}

#[derive(clap::Subcommand)]
enum BanCommand {
    /// Ban somebody: who is connected is disconnected at once
    #[command(
        after_help = "Examples:\n  ravelin ctl ban add client_id:meter-7 --reason stolen --dir plant\n  ravelin ctl ban add \
                      network:192.0.2.0/24 --for 1h --dir plant"
    )]
    Add {
        /// client_id:NAME, identity:NAME, certificate:SHA-256 or network:CIDR
        subject: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
        /// For how long: 15m, 7d [default: until it is lifted]
        #[arg(long = "for", value_name = "DURATION")]
        duration: Option<String>,
    },
    /// Lift a ban
    #[command(after_help = "Example:\n  ravelin ctl ban remove client_id:meter-7 --dir plant")]
    Remove {
        /// As the list says
        subject: String,
    },
    /// All bans
    #[command(after_help = "Example:\n  ravelin ctl ban list --dir plant")]
    List,
}

/// Failed log-ins, and who must wait for them.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct LockoutArgs {
    #[command(subcommand)]
    command: LockoutCommand,
}

#[derive(clap::Subcommand)]
enum LockoutCommand {
    /// What is counted, and who waits
    #[command(after_help = "Example:\n  ravelin ctl lockout list --dir plant")]
    List,
    /// Forget failed log-ins: of a user, from an address, of both together, or all
    #[command(after_help = "Example:\n  ravelin ctl lockout clear --user alice --dir plant")]
    Clear {
        /// Of this user name
        #[arg(long)]
        user: Option<String>,
        /// From this address
        #[arg(long)]
        address: Option<IpAddr>,
    },
}

/// Runs `ban`.
pub fn run(ctl: &Ctl, args: BanArgs) -> Result<(), ClientError> {
    match args.command {
        BanCommand::Add { subject, reason, duration } => {
            let request = BanRequest { subject, reason, duration };
            let made: BanMade = ctl.client.call("POST", "/v1/bans", &request)?;
            ctl.print(&made, |made| {
                let mut table = Table::pairs();
                table.pair("banned", &made.ban.subject);
                table.pair("until", until(&made.ban));
                table.pair("disconnected", made.disconnected);
                table.pair("took", format!("{:.1} ms", made.took_us as f64 / 1000.0));
                table
            });
        }
        BanCommand::Remove { subject } => {
            ctl.client.order_plain("DELETE", &format!("/v1/bans/{}", segment(&subject)))?;
            ctl.done(&format!("the ban of {subject} is lifted"));
        }
        BanCommand::List => {
            let all: Vec<BanEntry> = ctl.all("/v1/bans", usize::MAX)?;
            ctl.print(&all, |all| {
                let row = |ban: &BanEntry| {
                    [
                        ban.subject.clone(),
                        until(ban),
                        ban.by.clone(),
                        time(ban.at_s.saturating_mul(1000)),
                        ban.reason.clone(),
                    ]
                };
                Table::new(&["SUBJECT", "UNTIL", "BY", "SINCE", "REASON"]).with(all.iter().map(row))
            });
        }
    }
    Ok(())
}

fn until(ban: &BanEntry) -> String {
    ban.until_s.map_or_else(|| "it is lifted".into(), |at| time(at.saturating_mul(1000)))
}

/// Runs `lockout`.
pub fn run_lockout(ctl: &Ctl, args: LockoutArgs) -> Result<(), ClientError> {
    match args.command {
        LockoutCommand::List => {
            let all: Vec<LockoutItem> = ctl.client.get("/v1/lockouts")?;
            ctl.print(&all, |all| {
                let row = |one: &LockoutItem| {
                    [
                        one.scope.clone(),
                        or_dash(&one.user),
                        or_dash(&one.address),
                        one.failures.to_string(),
                        if one.locked_ms > 0 {
                            format!("{} s", one.locked_ms.div_ceil(1000))
                        } else {
                            "-".into()
                        },
                    ]
                };
                Table::new(&["SCOPE", "USER", "ADDRESS", "FAILURES", "WAITS"]).with(all.iter().map(row))
            });
        }
        LockoutCommand::Clear { user, address } => {
            let mut query = Vec::new();
            query.extend(user.map(|user| format!("user={}", segment(&user))));
            query.extend(address.map(|address| format!("address={}", segment(&address.to_string()))));
            let path = format!("/v1/lockouts?{}", query.join("&"));
            let cleared: Cleared = ctl.client.call("DELETE", path.trim_end_matches('?'), &())?;
            ctl.done(&format!("{} entries are forgotten", cleared.cleared));
        }
    }
    Ok(())
}

/// Runs `rates`.
pub fn run_rates(ctl: &Ctl) -> Result<(), ClientError> {
    let all: Vec<RateItem> = ctl.client.get("/v1/rates")?;
    ctl.print(&all, |all| {
        let row = |one: &RateItem| {
            [
                one.name.clone(),
                one.scope.clone(),
                or_dash(&one.of),
                one.limits.join(", "),
                one.on_exceed.clone(),
                one.exceeded.to_string(),
                one.buckets.to_string(),
            ]
        };
        let columns = ["RATE", "SCOPE", "OF", "LIMITS", "THEN", "EXCEEDED", "BUCKETS"];
        Table::new(&columns).with(all.iter().map(row))
    });
    Ok(())
}

/// Runs `ladder`.
pub fn run_ladder(ctl: &Ctl) -> Result<(), ClientError> {
    let all: Vec<RungItem> = ctl.client.get("/v1/ladder")?;
    ctl.print(&all, |all| {
        let row = |one: &RungItem| {
            let cost = one.cost_us.map_or_else(|| "-".into(), |us| format!("{us:.1} us"));
            [one.rung.clone(), one.refused.to_string(), cost]
        };
        Table::new(&["RUNG", "REFUSED", "COST"]).with(all.iter().map(row))
    });
    Ok(())
}
