//! What a client needs to connect, ready to paste: mosquitto_pub, Paho for Python, MQTT.js.

use super::quoted;
use std::path::PathBuf;

/// How a client connects.
pub struct Connection {
    pub host: String,
    pub port: u16,
    pub ca: PathBuf,
    pub client_id: String,
    /// Certificate and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// User name; the password stands for itself in the snippets.
    pub username: Option<String>,
    /// A topic that the client may publish to, if one is known.
    pub topic: String,
}

/// A snippet and what it is for.
pub struct Snippet {
    pub tool: &'static str,
    pub text: String,
}

/// The snippets for a connection.
pub fn all(connection: &Connection) -> Vec<Snippet> {
    vec![
        Snippet { tool: "mosquitto_pub", text: mosquitto(connection) },
        Snippet { tool: "Paho (Python)", text: paho(connection) },
        Snippet { tool: "MQTT.js", text: mqtt_js(connection) },
    ]
}

fn mosquitto(connection: &Connection) -> String {
    let mut text = format!(
        "mosquitto_pub -h {} -p {} --cafile {} -i {}",
        connection.host,
        connection.port,
        quoted(&connection.ca),
        connection.client_id
    );
    if let Some((certificate, key)) = &connection.certificate {
        text += &format!(" --cert {} --key {}", quoted(certificate), quoted(key));
    }
    if let Some(username) = &connection.username {
        text += &format!(" -u {username} -P \"$MQTT_PASSWORD\"");
    }
    text + &format!(" -q 1 -t {} -m hello", quoted(connection.topic.as_ref()))
}

fn paho(connection: &Connection) -> String {
    let certificate = match &connection.certificate {
        Some((certificate, key)) => format!(", certfile={}, keyfile={}", python(certificate), python(key)),
        None => String::new(),
    };
    let (import, password) = match &connection.username {
        Some(username) => (
            "import os\n",
            format!("client.username_pw_set(\"{username}\", os.environ[\"MQTT_PASSWORD\"])\n"),
        ),
        None => ("", String::new()),
    };
    format!(
        "{import}import paho.mqtt.client as mqtt\n\
         client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=\"{}\")\n\
         client.tls_set(ca_certs={}{certificate})\n\
         {password}client.connect(\"{}\", {})\n\
         client.loop_start()\n\
         client.publish({}, \"hello\", qos=1).wait_for_publish(10)\n\
         client.disconnect()\n",
        connection.client_id,
        python(&connection.ca),
        connection.host,
        connection.port,
        json(&connection.topic),
    )
}

fn mqtt_js(connection: &Connection) -> String {
    let mut options = format!(
        "  clientId: {},\n  ca: fs.readFileSync({}),\n",
        json(&connection.client_id),
        json(&connection.ca.display().to_string())
    );
    if let Some((certificate, key)) = &connection.certificate {
        options += &format!(
            "  cert: fs.readFileSync({}),\n  key: fs.readFileSync({}),\n",
            json(&certificate.display().to_string()),
            json(&key.display().to_string())
        );
    }
    if let Some(username) = &connection.username {
        options += &format!("  username: {},\n  password: process.env.MQTT_PASSWORD,\n", json(username));
    }
    let host = if connection.host.contains(':') {
        format!("[{}]", connection.host)
    } else {
        connection.host.clone()
    };
    format!(
        "const fs = require('fs');\n\
         const mqtt = require('mqtt');\n\
         const client = mqtt.connect('mqtts://{host}:{}', {{\n{options}}});\n\
         client.on('error', (error) => {{ console.error(error.message); client.end(true); }});\n\
         client.on('connect', () => client.publish({}, 'hello', {{ qos: 1 }}, () => client.end()));\n",
        connection.port,
        json(&connection.topic)
    )
}

/// A string as JSON, JavaScript and Python read it.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn python(path: &std::path::Path) -> String {
    json(&path.display().to_string())
}
