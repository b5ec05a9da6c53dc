// MQTT.js as a command: publishes what it reads, or prints what it receives, a line a message.
'use strict';

const fs = require('fs');
const mqtt = require('mqtt');
const { parseArgs } = require('util');

const text = { type: 'string' };
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    url: text, ca: text, cert: text, key: text, username: text, password: text,
    id: text, mqtt: text, qos: text, topic: text,
  },
});
const qos = Number(options.qos);
const read = (path) => (path ? fs.readFileSync(path) : undefined);

const client = mqtt.connect(options.url, {
  clientId: options.id,
  protocolVersion: options.mqtt === '5.0' ? 5 : 4,
  ca: read(options.ca),
  cert: read(options.cert),
  key: read(options.key),
  username: options.username,
  password: options.password,
  reconnectPeriod: 0,
});

const fail = (error) => {
  console.error(`refused: ${error.message}`);
  process.exit(1);
};

client.on('error', fail);
client.on('message', (topic, payload, packet) => {
  console.log(`${topic} ${packet.qos} ${packet.retain ? 1 : 0} ${payload}`);
});
client.on('connect', () => {
  if (positionals[0] === 'sub') {
    client.subscribe(options.topic, { qos }, (error) => error && fail(error));
  } else {
    client.publish(options.topic, fs.readFileSync(0), { qos }, (error) => {
      if (error) fail(error);
      client.end();
    });
  }
});
