//! The configuration that `init` writes: every key, with its meaning and its default.

use ravelin_node::config::{CONTROL_LIMITS, LIMITS};
use std::fmt::Write;
use std::net::SocketAddr;

/// What stands in the configuration that is particular to a deployment.
pub struct Particulars<'a> {
    pub name: &'a str,
    /// Where certificates are required.
    pub address: SocketAddr,
    /// Where passwords are accepted too.
    pub password_address: SocketAddr,
    /// Where WebSocket would listen.
    pub websocket_address: SocketAddr,
    /// Where the node is administered.
    pub control_address: SocketAddr,
    /// Who may administer it.
    pub admin: &'a str,
}

/// The text of `ravelin.toml`.
pub fn config(particulars: &Particulars<'_>) -> String {
    let Particulars { name, address, password_address, websocket_address, control_address, admin } =
        particulars;
    let mut text = format!(
        r##"# Ravelin. Check with `ravelin check`; a running node takes changes up on SIGHUP.
#
# A key that is commented out shows its default. Paths are relative to this file.
# Sizes: "500KB", "64MiB". Durations: "100ms", "30s", "5m", "7d". Rates: "1000/s", "50/10s".
# What lowers security has a name that begins with `dangerous_`.

[node]
# What the node is called in logs.
name = "{name}"
# Where sessions, queues and retained messages are kept, encrypted. Without it nothing survives a restart.
data = "data"
# Worker threads; 0 is one for each core.
#workers = 0
# The `[[site]]` below that it is at.
#site = "control-room"

# --- Where clients connect ---------------------------------------------------------------------------------------

# Mutual TLS: who has no certificate of our CA is not even heard.
[[listener]]
name = "mutual-tls"
# "tls", "wss" (WebSocket over TLS); "tcp" and "ws" are not encrypted and for loopback.
transport = "tls"
# "0.0.0.0:8883" or "[::]:8883" listens on every interface.
address = "{address}"
certificate = "tls/server.crt"
key = "tls/server.key"
# "required", "optional" (verified if shown) or "none".
client_certificate = "required"
# Whose certificates are accepted, and which of them were revoked (`ravelin client remove` adds to the list): files, and
# URLs of http or https that are fetched again every `crl_refresh`. Without a current list of a CA, nobody of it is let in.
client_ca = "ca/ca.crt"
crl = ["ca/ca.crl"]
# Which name of the certificate is the identity: "cn", "san-dns", "san-uri", "san-email", or "fingerprint" (the
# identity of the directory that the certificate's SHA-256 belongs to).
#identity_from = "cn"
# Which Client Identifiers an identity may use: "equal" (its own name), "prefix" (its name, or its name followed by one
# of - _ . : and more), "none" (any: whoever is let in may take over any session).
#bind_client_id = "equal"
# What proves who a client is: "certificate", "password", "scram-sha-256", "scram-sha-512", "jwt" (a token of a `[[jwt]]`
# below). One is enough, none may contradict.
authentication = ["certificate"]
# What every client must prove beside its certificate: "none", "password", "jwt" or "totp" (a one-time code); it stands in
# the password field of CONNECT. The class of an identity can demand more, never less.
#second_factor = "none"
# The oldest TLS version: "1.2" or "1.3".
#tls_min = "1.2"
# Whether a client that returns is spared the full handshake. Tickets end with every reload.
#session_tickets = true
# How long a ticket is good for at most.
#ticket_lifetime = "12h"
# Staple an OCSP answer to our certificate: from a file that something else renews, or fetched from the responder that
# the certificate names. The issuer's certificate is the second of the chain, or this file.
#ocsp_file = "tls/server.ocsp"
#ocsp_fetch = false
#ocsp_issuer = "tls/issuer.crt"
# After so long, or so many bytes, a connection gets new keys (TLS 1.3) or ends (TLS 1.2); "0s" and 0 are never.
#key_age_max = "24h"
#key_bytes_max = "64GiB"
# After so long a client must have authenticated again (AUTH of MQTT 5.0), or its connection ends; "0s" is never.
#session_age_max = "0s"
# Behind a load balancer: whether connections begin with a PROXY protocol header, and whose is believed.
#proxy_protocol = false
#proxy_trusted = ["10.0.0.5/32"]
# Connections of this listener; by default limits.connections_max alone counts.
#connections_max = 100_000
# The zone (IEC 62443) that it faces, for the network map.
#zone = "field"
# A transport without TLS beyond loopback.
#dangerous_plaintext = false
# Let in whoever presents nothing, as nobody.
#dangerous_anonymous = false

# TLS with passwords, for clients that cannot have a certificate.
[[listener]]
name = "password-tls"
transport = "tls"
address = "{password_address}"
certificate = "tls/server.crt"
key = "tls/server.key"
client_certificate = "optional"
client_ca = "ca/ca.crt"
crl = ["ca/ca.crl"]
authentication = ["certificate", "password", "scram-sha-256", "scram-sha-512"]

# WebSocket, for browsers. Take the `#` away from each line to switch it on.
#[[listener]]
#name = "websocket"
#transport = "wss"
#address = "{websocket_address}"
#certificate = "tls/server.crt"
#key = "tls/server.key"
#client_certificate = "none"
#authentication = ["password", "scram-sha-256", "scram-sha-512"]
# The path of the endpoint.
#websocket_path = "/mqtt"
# The web pages that may connect; a page of any other origin is refused.
#allowed_origins = ["https://plant.example"]

# --- Who is let in, and what they may do -------------------------------------------------------------------------

[authentication]
# Users and password hashes, in the format of mosquitto_passwd; `ravelin client add` and `ravelin passwd` write it.
password_file = "passwords"
# How many passwords are verified at once, and how many clients may wait for it.
#hash_workers = 2
#hash_queue_max = 64

# Tokens (JWT) of an identity provider, for listeners whose `authentication` has "jwt". Take the `#` away from the lines
# to switch it on; one table for each provider.
#[[jwt]]
# Exactly what the tokens have in `iss`, and what one of their `aud` must be.
#issuer = "https://id.plant.example"
#audience = ["ravelin"]
# Where its keys (a JSON Web Key Set) are: an address, or instead of it a file that is read again on SIGHUP.
#jwks_url = "https://id.plant.example/jwks.json"
#jwks_file = "jwks.json" (not beside jwks_url)
# Whose CAs vouch for the server of the address; by default those of the system.
#jwks_ca = "ca/ca.crt"
# How often the keys are fetched, and for how long they are trusted while they cannot be; after that nobody gets in by them.
#refresh = "10m"
#keep = "1d"
# RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA.
#algorithms = ["RS256", "ES256", "EdDSA"]
# By how much clocks may differ, and for how long a token may be valid.
#leeway = "30s"
#lifetime_max = "1d"
# Which claim says who the client is. The others are used if they are named: which Client Identifier it must use, its
# class, and its groups and roles, which must exist in the directory.
#identity_claim = "sub"
#client_id_claim = "client_id"
#class_claim = "class"
#groups_claim = "groups"
#roles_claim = "roles"

[access]
# Who may publish and subscribe to what, in the syntax of Mosquitto's acl_file. What no rule allows is denied.
rules_file = "access.rules"
# Everyone may do everything.
#dangerous_allow_everything = false

[directory]
# Identities, groups and roles that are administered while the node runs, by `ravelin ctl` or by `mosquitto_ctrl dynsec`.
# Who may do the latter, beside those who have the role `admin` there; nobody where this is not set.
administrators = ["operator"]

# --- Certificates ------------------------------------------------------------------------------------------------

# The private CA, for certificates over the API (`ravelin ctl cert enrol`) and a revocation list that is renewed by
# itself. Its key must then be on this machine; without this section it can be kept offline.
#[ca]
#certificate = "ca/ca.crt"
#key = "ca/ca.key"
#crl = "ca/ca.crl"
# How long a revocation list is valid; it is renewed when half of that has passed.
#crl_validity = "30d"
# How long a certificate is valid at most, and the smallest RSA key that gets one.
#validity = "30d"
#rsa_bits_min = 3072
# Which names beside its identity (%u) a device may have in its certificate.
#san_dns = ["%u"]
#san_uri = []
#san_email = []

[certificates]
# How often the files of certificates, keys and revocation lists are looked at; "0s" leaves it to SIGHUP.
#watch = "5s"
# How often revocation lists are fetched from URLs, how large one may be, and how long fetching may take.
#crl_refresh = "1h"
#crl_bytes_max = "96MiB"
#fetch_timeout = "10s"
# The CAs of https servers; without it those that this system trusts.
#fetch_ca = "servers.crt"

# --- What is kept ------------------------------------------------------------------------------------------------

[store]
# When a QoS 1 or 2 message is acknowledged: "commit" (it is on disk), "interval" (it will be, soon), "none".
#durability = "commit"
#interval = "100ms"
# What is stored is encrypted with this key. Keep a copy elsewhere: without it the data cannot be read.
key_file = "store.key"

[sandbox]
# What the process gives up before it serves: all capabilities; with landlock, every file but its own and those named here
# (by their folders); with seccomp, every system call that a node does not make, so that nothing can be executed. "on":
# what the kernel has, and the rest is said; "require": all of it or the node does not start; "off".
#mode = "on"
# Started as root, become this user (a name, or uid:gid) before anything is opened; it must own `data`.
#user = ""

# The operating system's firewall: networks that an order blocks (`ravelin respond firewall`) do not get a packet through to the
# listeners' ports. It takes `nft` and CAP_NET_ADMIN at the start; where one is missing, orders say what they would do.
#[firewall]
#enabled = false
# The one table (family inet) that Ravelin makes, changes and owns.
#table = "ravelin"
#nft = "/usr/sbin/nft"
# Networks that are never blocked, whoever asks for it.
#never = []
# Whether the table stays when the node has stopped: what is blocked then stays so until its time is over.
#leave = true

# Rehearsing attacks on this node with `ravelin drill`. Take the `#` away from both lines to consent; `play` names real clients
# that a drill may play where it has their keys, and then their messages reach whoever subscribes to them.
#[drill]
#allow = true
#play = []

[record]
# Messages on topics that match are recorded beyond denial: who sent what (its SHA-256), when, and to whom it came. What
# administrators do and what is refused is recorded always. Look at it with `ravelin audit show`, check it with
# `ravelin audit verify`.
#topics = []
# Where it is kept; by default in `record` below `data`.
#directory = "data/record"
# What is older is deleted, signed for; "0s" keeps everything.
#retention = "90d"
# The largest size.
#bytes_max = "8GiB"
# What happens to messages on these topics when the record cannot be written, or is as large as it may be: "refuse" (no
# message is acknowledged without its entry), "gap" (they pass, and how many is recorded later), "prune" (as "gap", but
# at the largest size the oldest entries make room).
#on_full = "refuse"
# The record is signed so soon after each entry.
#checkpoint_interval = "5s"

# --- What is told ------------------------------------------------------------------------------------------------

[log]
# "text" or "json", to standard error.
#format = "text"
# "trace", "debug", "info" or "warn".
#level = "info"

[sys]
# How often $SYS topics are published; "0s" never.
#interval = "10s"

# --- Rates -------------------------------------------------------------------------------------------------------

# How much is too much, for whom, and what happens then. There may be any number of them; all that match hold.
#[[rate]]
# What it is called in events and metrics.
#name = "field-devices"
# Who shares one: "client" (each Client Identifier), "identity", "class", "address" (IPv6: a /64), "listener", "topic".
#scope = "client"
# Only this client, identity, class, network, listener; for topics, which: a filter. By default each has one of its own.
#of = "plant/pump-7"
# "1000/s", "500KB/10s", "infinity", or several at once: ["20/s", "500/m"].
#messages = "1000/s"
#bytes = ["1MiB/s", "20MiB/m"]
# SUBSCRIBE packets, and connections that log in (which are refused beyond it).
#subscribes = "100/m"
#connects = "10/m"
# How much may come at once; by default what the window allows in all of its time.
#messages_burst = 100
#bytes_burst = "64KiB"
# "delay" (its connection is not read until it may go on), "drop" (QoS 0 is dropped, QoS 1 and 2 get 0x97; 3.1.1 is disconnected),
# "refuse" (0x97; who publishes with QoS 0 or speaks 3.1.1 is disconnected) or "disconnect".
#on_exceed = "delay"

# --- What is taken in need ---------------------------------------------------------------------------------------

# What a client in quarantine may do at most; %c is its Client Identifier. The class is one of the directory's: its rates hold.
[quarantine]
#class = "suspects"
#publish = ["quarantine/%c"]
#receive = []

# What a raised posture closes. Rates and the limits on new connections are divided, pauses after failed log-ins multiplied. A
# new device is one that the inventory has neither declared nor seen; a new session is let in for declared devices.
[posture.elevated]
#divide = 2
#pause_factor = 2
#refuse_new_devices = true
#refuse_new_sessions = false
#refuse_multi_level = false
#refuse_anonymous = false
#closed_listeners = []

[posture.lockdown]
#divide = 4
#pause_factor = 4
#refuse_new_devices = true
#refuse_new_sessions = true
#refuse_multi_level = true
#refuse_anonymous = true
#closed_listeners = []

# What is taken from clients whose trust (0 to 100) is below a score, until it is above that by the hysteresis.
#[[trust]]
#below = 30
#hysteresis = 10
# "publish", "subscribe" or "receive" and a filter.
#deny = ["publish plant/+/cmd/#"]
#qos_max = 0
#quarantine = false
#class = "suspects"

# --- What is on the bus ------------------------------------------------------------------------------------------

# The inventory of devices, built from what they do: `ravelin ctl inventory`.
[inventory]
# What a device is: "identity" (else its Client Identifier), or "client_id" where many share an identity.
#keyed_by = "identity"
# What becomes of a device that is not declared: "admit", "quarantine" (it is put into the class below) or "refuse".
#unknown = "admit"
#quarantine_class = "quarantine"
# A device that was not seen for so long is dormant.
#dormant_after = "30d"
# User Properties of CONNECT that tell the client library, the firmware version and the model, in any case.
#library_properties = ["library", "client_library", "client-library", "lib", "sdk"]
#firmware_properties = ["firmware", "firmware_version", "firmware-version", "fw", "fw_version"]
#model_properties = ["model", "hardware", "device_model", "device-model"]
# How much is kept: devices, declared ones, and of each device Client Identifiers, addresses, topics (beyond it, patterns of topics).
#devices_max = 1_000_000
#declared_max = 1_000_000
#clients_per_device_max = 8
#addresses_per_device_max = 4
#topics_per_device_max = 16
#birth_bytes_max = "64KiB"
#findings_max = 4_096
# How often what was seen goes to disk, and how many devices at once. What an administrator orders does at once.
#write_interval = "10s"
#write_max = 200
# When an observation is a finding; docs/guide/inventory.md says why these.
#duplicate_returns = 4
#duplicate_returns_declared = 20
#duplicate_window = "10m"
#clone_overlap = "30s"
#settled_after = "7d"
#finding_again_after = "1d"

# Where devices tell of themselves when they come on: topics, and JSON pointers (or names of Sparkplug metrics) in the payload. Sparkplug's
# NBIRTH is known without this.
#[[birth]]
#filter = "devices/+/birth"
# "json" or "sparkplug".
#format = "json"
#library = ["/client/library"]
#firmware = ["/firmware"]
#model = ["/model"]
#latitude = ["/position/lat"]
#longitude = ["/position/lon"]

# Places, for the map. A device is at the site in whose networks its address is.
#[[site]]
#name = "control-room"
#latitude = 48.2082
#longitude = 16.3738
#networks = ["10.1.0.0/16"]
# The zone (IEC 62443) that the site belongs to.
#zone = "field"

# What is on the way: gateways, radio masts, carriers.
#[[infrastructure]]
#name = "mast-7"
#kind = "radio"
#latitude = 48.25
#longitude = 16.40
#site = "control-room"
#networks = ["10.1.7.0/24"]

# Which way messages may flow between zones.
#[[conduit]]
#name = "readings"
#from = "field"
#to = "operations"
# By default all topics.
#topics = ["meters/#"]

# --- Detection ---------------------------------------------------------------------------------------------------

# What detectors go by: `ravelin detect`, docs/guide/detection.md. They act on nothing by themselves.
[detect]
#enabled = true
# An alarm stays open for so long at least, and ends when nothing was seen of it for so long (where its detector says nothing else).
#hold_off = "1m"
#quiet = "5m"
# Alarms that one detector raises at once, and as many again in a minute; what is beyond is counted and not told.
#alarms_per_minute = 30
# If more than so many percent of the known clients, and so many at least, raise the same within this time, it is one alarm of the fleet.
#fleet_window = "1m"
#fleet_percent = 5
#fleet_min = 10
# How much is remembered. What was not seen for longest makes room.
#clients_max = 100_000
#sources_max = 65_536
#identities_max = 65_536
#failing_users_max = 512
#alarms_max = 10_000
#suppressions_max = 1_000
#notices_max = 10_000
# How often what was learned goes to disk, and how many records at once. Alarms and what an operator orders do at once.
#write_interval = "10s"
#write_max = 500

# Trust of clients, 0 to 100: how fast good and bad behaviour is forgotten, how much good counts in a day and for how long a client must be
# active for it, and what a client begins with (percent): declared or with a certificate, with another proof of who it is, others.
[detect.trust]
#good_half_life = "1d"
#bad_half_life = "7d"
#good_per_day = 50
#good_every = "10m"
#prior_enrolled = 90
#prior_identified = 75
#prior_unknown = 50

# Thresholds of single detectors, by the names of docs/guide/configuration.md.
[detect.connection]
# Addresses that open connections only to see whether the node is there: a load balancer.
#health_checks = ["10.0.0.5"]
# A connection below so many seconds is short; one without data after so many is idle.
#short_s = 60
#idle_after_s = 30
[detect.traffic]
# Classes that may subscribe to everything (`#`, `$SYS/#`).
#wide_classes = ["historian"]
# Nobody may send more messages in 10 s, whatever is usual for it.
#flood_messages_quota = 50_000

# Behaviours as AWS IoT Device Defender has them: an alarm is raised when a client does not keep one.
#[[behaviour]]
#name = "messages sent"
#metric = "aws:num-messages-sent"
# The classes that it is for; without this, all clients.
#classes = ["meters"]
#criteria = {{ comparison_operator = "less-than-equals", value = {{ count = 500 }}, duration_seconds = 300 }}
# Measure and do not tell.
#suppress_alerts = false
#severity = "medium"

# When clients of a class are expected to be there and to send. Without this it is learned.
#[[expect]]
#class = "meters"
#interval = "60s"
#grace = "90s"
# Whether they are connected all the time; whether one that is silent is an alarm at all.
#connected = true
#watch = true
# Rounds in which a person inspects each device; `ravelin detect inspect` records them.
#inspection_every = "90d"

# Sensors of doors, tampering and vibration.
#[[physical]]
#topic = "doors/+/state"
# "tamper", "door", "vibration" or "other".
#kind = "door"
# The level of the topic that names the device, from 0; without this, the publisher is the device.
#device_level = 1
# Where the state is in a JSON payload; without this, the payload is the state.
#pointer = "/state"
#alarm_when = {{ equals = "open" }}
#severity = "high"

# What measured values and set-points may be.
#[[value]]
#name = "voltage"
#topic = "meters/+/volt"
#pointer = "/volt"
#min = 110
#max = 130
# The largest difference between two values, and in a second.
#step_max = 10
#rate_max = 5
# Learn the range and the usual step; take a value of another publisher for an alarm.
#learn = false
#single_publisher = false
#severity = "high"

# --- How the node is administered ---------------------------------------------------------------------------------

# The control lane: the REST API that `ravelin ctl` speaks to, and `/metrics`. Without this section there is none.
[control]
# Beyond loopback, `client_certificate = "required"` is needed as well.
address = "{control_address}"
certificate = "tls/server.crt"
key = "tls/server.key"
# "required", "optional" (then a token of `ravelin ctl tokens create` is enough) or "none" (tokens only).
client_certificate = "optional"
client_ca = "ca/ca.crt"
crl = ["ca/ca.crl"]
# The oldest TLS version: "1.2" or "1.3".
#tls_min = "1.3"
# Who may do everything; act on clients and bans; look. Names of certificates (Common Name), or "sha256:" and a fingerprint.
admins = ["{admin}"]
#operators = []
#viewers = []
# Serve `/metrics` here too, in plain HTTP to whoever asks; loopback only.
#metrics_address = "127.0.0.1:9234"
# No TLS: whoever sees the traffic has the tokens.
#dangerous_plaintext = false
# Listen beyond loopback without demanding a client certificate: a stolen token is then enough.
#dangerous_without_client_certificate = false
"##
    );
    for (name, default, meaning) in CONTROL_LIMITS {
        let _ = writeln!(text, "# {meaning}\n#{name} = {default}");
    }
    text += "
# --- Limits ------------------------------------------------------------------------------------------------------

[limits]
";
    for limit in LIMITS {
        let _ = writeln!(text, "#{}\n#{} = {}", limit.meaning, limit.name, (limit.default)());
    }
    text
}

/// The text of the first `access.rules`.
pub const ACCESS_RULES: &str = "\
# Who may publish and subscribe to what, in the syntax of Mosquitto's acl_file. What no rule allows is denied, and a
# `deny` wins over whatever else allows it. A running node takes changes up on SIGHUP.
#
#   user NAME                     the rules below are for this identity
#   topic read FILTER             it may subscribe to FILTER and be sent what matches
#   topic write FILTER            it may publish to topics that match
#   topic readwrite FILTER        both
#   topic deny FILTER             neither
#   topic subscribe FILTER        it may subscribe within FILTER, but is sent only what a `read` allows
#   pattern write meters/%u/#     for every client: %u is its identity, %c its Client Identifier
#
# Rules before the first `user` are for anonymous clients. Examples:
#
#pattern write meters/%u/#
#pattern read commands/%u/#
#
#user dms
#topic read meters/+/reading
#topic write commands/+/switch

# The operator sees and does everything, and reads the state of the node.
user operator
topic readwrite #
topic read $SYS/#
";

/// The text of the first password file.
pub const PASSWORDS: &str =
    "# Users and password hashes; write it with `ravelin client add` or `ravelin passwd`.\n";
