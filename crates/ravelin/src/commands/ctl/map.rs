//! Flows, the network map, places, the bill of cryptography.

use super::Ctl;
use super::table::{Table, or_dash};
use ravelin_console::client::ClientError;
use ravelin_console::page::Listing;
use ravelin_identify::HandshakeView;
use ravelin_identify::flows::{Authorised, Flow, Flows};

#[derive(clap::Subcommand)]
pub enum Command {
    /// See who sends what to whom, and what of it is authorised
    Flows(FlowArgs),
    /// Print the network map
    #[command(
        after_help = "Examples:\n  ravelin ctl map --format svg --dir plant > map.svg\n  ravelin ctl map --format dot --dir plant | dot -Tpdf > map.pdf"
    )]
    Map {
        /// How
        #[arg(long, default_value = "svg", value_parser = ["svg", "dot", "graphml", "json"])]
        format: String,
        /// Up to so many devices each is drawn; above, they are grouped
        #[arg(long, default_value_t = 500)]
        devices_max: usize,
        /// Only devices that are connected
        #[arg(long)]
        connected: bool,
    },
    /// Print sites, infrastructure, the node and devices as GeoJSON
    #[command(after_help = "Example:\n  ravelin ctl places --dir plant > places.geojson")]
    Places,
    /// Print the bill of cryptography in use (CycloneDX 1.6)
    #[command(after_help = "Example:\n  ravelin ctl cbom --dir plant > cbom.cdx.json")]
    Cbom,
    /// See which TLS versions, suites and groups were agreed on
    #[command(after_help = "Example:\n  ravelin ctl handshakes --dir plant")]
    Handshakes,
}

/// See who sends what to whom, and what of it is authorised.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ravelin ctl flows --dir plant\n  ravelin ctl flows --authorised --dir plant\n  ravelin ctl flows --svg --dir plant > flows.svg"
)]
pub struct FlowArgs {
    /// What differs between what may flow and what does
    #[arg(long)]
    authorised: bool,
    /// Print a drawing
    #[arg(long, conflicts_with = "authorised")]
    svg: bool,
    /// Levels of topics; what is below is #
    #[arg(long, default_value_t = 8)]
    depth: usize,
    /// Different topics; beyond, they are generalised
    #[arg(long, default_value_t = 200)]
    topics_max: usize,
    /// Up to so many devices each has rows of its own; above, they are grouped by class and site
    #[arg(long, default_value_t = 100)]
    devices_max: usize,
}

/// Runs the command.
pub fn run(ctl: &Ctl, command: Command) -> Result<(), ClientError> {
    match command {
        Command::Flows(args) => flows(ctl, &args)?,
        Command::Map { format, devices_max, connected } => {
            let query = format!("format={format}&devices_max={devices_max}&connected_only={connected}");
            print!("{}", ctl.client.get_text(&format!("/v1/map?{query}"))?);
        }
        Command::Places => println!("{}", ctl.client.get_text("/v1/places")?),
        Command::Cbom => println!("{}", ctl.client.get_text("/v1/cbom")?),
        Command::Handshakes => {
            let all: Listing<HandshakeView> = ctl.client.get("/v1/handshakes")?;
            ctl.print(&all.items, |all| {
                let columns = ["LISTENER", "TLS", "SUITE", "GROUP", "FULL", "RESUMED", "LAST"];
                Table::new(&columns).with(all.iter().map(|one| {
                    [
                        one.listener.clone(),
                        one.version.clone(),
                        one.suite.clone(),
                        or_dash(&one.group),
                        one.full.to_string(),
                        one.resumed.to_string(),
                        one.last.clone(),
                    ]
                }))
            });
        }
    }
    Ok(())
}

fn flows(ctl: &Ctl, args: &FlowArgs) -> Result<(), ClientError> {
    let FlowArgs { depth, topics_max, devices_max, .. } = args;
    let query = format!("depth={depth}&topics_max={topics_max}&devices_max={devices_max}");
    if args.svg {
        print!("{}", ctl.client.get_text(&format!("/v1/flows?format=svg&{query}"))?);
    } else if args.authorised {
        let judged: Authorised = ctl.client.get(&format!("/v1/flows/authorised?{query}"))?;
        ctl.print(&judged, authorised);
    } else {
        let flows: Flows = ctl.client.get(&format!("/v1/flows?{query}"))?;
        ctl.print(&flows, |flows| {
            let columns =
                ["PUBLISHER", "TOPIC", "SUBSCRIBER", "MESSAGES", "BYTES", "RATE/S", "QOS", "CONDUIT"];
            Table::new(&columns).with(flows.flows.iter().map(|flow| {
                let conduit = if flow.crosses_zones { "MISSING".into() } else { flow.conduits.join(", ") };
                let qos: Vec<String> = flow.qos.iter().map(u8::to_string).collect();
                let [publisher, topic, subscriber] = ends(flow);
                let (messages, bytes) = (flow.messages.to_string(), flow.bytes.to_string());
                [
                    publisher,
                    topic,
                    subscriber,
                    messages,
                    bytes,
                    format!("{:.1}", flow.rate),
                    qos.join(","),
                    conduit,
                ]
            }))
        });
    }
    Ok(())
}

fn ends(flow: &Flow) -> [String; 3] {
    let subscriber = flow.subscriber.as_ref().map(|end| &end.name);
    [flow.publisher.name.clone(), flow.topic.clone(), or_dash(&subscriber)]
}

fn authorised(judged: &Authorised) -> Table {
    let mut table = Table::new(&["", "PUBLISHER", "TOPIC", "SUBSCRIBER"]);
    let kinds = [
        ("undeclared", &judged.undeclared),
        ("not allowed", &judged.disallowed),
        ("no conduit", &judged.unconduited),
    ];
    for (kind, flows) in kinds {
        for one in flows {
            let [publisher, topic, subscriber] = ends(&one.flow);
            table.row([kind.to_owned(), publisher, topic, subscriber]);
        }
    }
    for rule in &judged.unseen {
        table.row(["never seen".to_owned(), rule.source.clone(), rule.filter.clone(), rule.action.clone()]);
    }
    table.row(["agree".to_owned(), judged.agreeing.to_string(), String::new(), String::new()]);
    table
}
