"""Paho as a command: publishes what it reads, or prints what it receives, a line a message."""

import argparse
import os
import sys

import paho.mqtt.client as mqtt

arguments = argparse.ArgumentParser()
arguments.add_argument("command", choices=["pub", "sub"])
for name in ["host", "ca", "id", "topic"]:
    arguments.add_argument("--" + name, required=True)
for name in ["cert", "key", "username", "password"]:
    arguments.add_argument("--" + name)
arguments.add_argument("--port", type=int, required=True)
arguments.add_argument("--mqtt", choices=["3.1.1", "5.0"], required=True)
arguments.add_argument("--qos", type=int, required=True)
arguments.add_argument("--websocket", action="store_true")
options = arguments.parse_args()

client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id=options.id,
    protocol=mqtt.MQTTv5 if options.mqtt == "5.0" else mqtt.MQTTv311,
    transport="websockets" if options.websocket else "tcp",
)
if options.websocket:
    client.ws_set_options(path="/mqtt")
client.tls_set(ca_certs=options.ca, certfile=options.cert, keyfile=options.key)
if options.username:
    client.username_pw_set(options.username, options.password)


def on_connect(client, _data, _flags, reason, _properties):
    if reason.is_failure:
        print(f"refused: {reason}", file=sys.stderr, flush=True)
        # This runs on Paho's thread, which `sys.exit` would end alone.
        os._exit(1)
    if options.command == "sub":
        client.subscribe(options.topic, options.qos)


def on_disconnect(_client, _data, _flags, reason, _properties):
    # Paho would try again for ever.
    if reason.is_failure:
        print(f"lost: {reason}", file=sys.stderr, flush=True)
        os._exit(1)


def on_message(_client, _data, message):
    retain = int(message.retain)
    print(f"{message.topic} {message.qos} {retain} {message.payload.decode()}", flush=True)


client.on_connect = on_connect
client.on_disconnect = on_disconnect
client.on_message = on_message
client.connect(options.host, options.port)
if options.command == "sub":
    client.loop_forever(retry_first_connection=False)
else:
    client.loop_start()
    message = client.publish(options.topic, sys.stdin.read(), options.qos)
    message.wait_for_publish(15)
    if not message.is_published():
        sys.exit("not acknowledged")
    client.disconnect()
    client.loop_stop()
