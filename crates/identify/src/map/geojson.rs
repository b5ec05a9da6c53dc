//! Sites, infrastructure, the node and devices on a map: GeoJSON (RFC 7946).

use crate::inventory::Inventory;
use crate::place::Position;
use serde_json::{Value, json};

/// How many devices with a place are in one document.
const DEVICES_MAX: usize = 50_000;

impl Inventory {
    /// Everything that has a place, as a `FeatureCollection`. A device without coordinates of its own is where its site is; it
    /// has no feature then, but counts in that of the site.
    pub fn geojson(&self, now_ms: u64) -> Value {
        let mut features = Vec::new();
        for site in &self.places.sites {
            let here = |name: Option<&str>| name == Some(&*site.name);
            let devices =
                self.devices.iter().filter(|(key, device)| here(self.site_name(key, device))).count();
            let properties =
                json!({ "kind": "site", "name": site.name, "zone": site.zone, "devices": devices });
            features.extend(site.position.map(|position| feature(position, properties)));
        }
        for one in &self.places.infrastructure {
            let of_site = || one.site.as_deref().and_then(|name| self.places.site(name)?.position);
            let properties =
                json!({ "kind": "infrastructure", "type": one.kind, "name": one.name, "site": one.site });
            features.extend(one.position.or_else(of_site).map(|position| feature(position, properties)));
        }
        let of_node = self.places.node_site.as_deref().and_then(|name| self.places.site(name)?.position);
        let properties = json!({ "kind": "node", "name": self.places.node, "site": self.places.node_site });
        features.extend(of_node.map(|position| feature(position, properties)));
        let own = self.devices.iter().filter_map(|(key, device)| {
            let declared = self.declared.of(key).and_then(|(_, entry)| entry.position());
            let told = device.position.as_deref().copied();
            let told =
                told.and_then(|(latitude, longitude)| Position::new(latitude.into(), longitude.into()));
            Some((key, device, declared.or(told)?))
        });
        for (key, device, position) in own.take(DEVICES_MAX) {
            let view = self.view(key, device, now_ms);
            let properties = json!({
                "kind": "device",
                "key": view.key,
                "name": view.declared,
                "state": view.state,
                "connected": view.connected,
                "site": view.site,
                "zone": view.zone,
                "model": view.model,
                "criticality": view.criticality,
            });
            features.push(feature(position, properties));
        }
        json!({ "type": "FeatureCollection", "features": features })
    }
}

fn feature(position: Position, properties: Value) -> Value {
    json!({
        "type": "Feature",
        // RFC 7946, 3.1.1: longitude first.
        "geometry": { "type": "Point", "coordinates": [position.longitude, position.latitude] },
        "properties": properties,
    })
}
