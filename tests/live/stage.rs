//! What a scenario has built: the namespace to look into, its traffic, the place that a verdict should name.

use std::net::SocketAddr;
use std::time::Duration;

use crate::lab::{Family, Host, Lab, address, service};
use crate::traffic::Traffic;

/// The longest that any condition of a scenario may take to come about.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Traffic goes first, then the lab.
pub struct Stage {
    pub traffic: Vec<Traffic>,
    /// Where ctlens looks.
    pub watched: Host,
    /// The service that is talked to.
    pub place: SocketAddr,
    /// Where it runs.
    pub serving: Host,
    _lab: Lab,
}

/// Two hosts and a wire.
pub struct Pair {
    pub near: Host,
    pub far: Host,
    /// The service at the far end.
    pub service: SocketAddr,
    /// The near end's address.
    pub near_address: std::net::IpAddr,
    lab: Lab,
}

impl Pair {
    pub fn new(family: Family, near: &str, far: &str) -> Pair {
        let mut lab = Lab::new();
        let (near, far) = (lab.host(near), lab.host(far));
        let wire = lab.wire(&near, &far);
        Pair {
            near,
            far,
            service: service(family, wire, 2),
            near_address: address(family, wire, 1),
            lab,
        }
    }

    pub fn watch_near(self, traffic: Vec<Traffic>) -> Stage {
        Stage {
            traffic,
            watched: self.near,
            serving: self.far,
            place: self.service,
            _lab: self.lab,
        }
    }

    pub fn watch_far(self, traffic: Vec<Traffic>) -> Stage {
        Stage {
            traffic,
            watched: self.far.clone(),
            serving: self.far,
            place: self.service,
            _lab: self.lab,
        }
    }
}

/// A client and a server with a firewall between them that forwards and tracks.
pub struct Routed {
    pub client: Host,
    pub firewall: Host,
    pub server: Host,
    pub service: SocketAddr,
    lab: Lab,
}

/// Flooded with by address, never anybody's: RFC 2544's block, and one of the unique local ones.
pub const SPOOFED_V4: &str = "198.18.0.0/15";
pub const SPOOFED_V6: &str = "fd99::/16";

impl Routed {
    pub fn new(family: Family) -> Routed {
        let mut lab = Lab::new();
        let (client, firewall, server) = (lab.host("client"), lab.host("firewall"), lab.host("server"));
        let inner = lab.wire(&client, &firewall);
        let outer = lab.wire(&server, &firewall);
        firewall.forwards();
        firewall.tracks();
        for (host, wire) in [(&client, inner), (&server, outer)] {
            for family in [Family::V4, Family::V6] {
                host.ip(&format!("route add default via {}", address(family, wire, 2)));
            }
        }
        for (block, family) in [(SPOOFED_V4, Family::V4), (SPOOFED_V6, Family::V6)] {
            firewall.ip(&format!("route add {block} via {}", address(family, inner, 1)));
        }
        Routed {
            client,
            firewall,
            server,
            service: service(family, outer, 1),
            lab,
        }
    }

    pub fn watch_firewall(self, traffic: Vec<Traffic>) -> Stage {
        Stage {
            traffic,
            watched: self.firewall,
            serving: self.server,
            place: self.service,
            _lab: self.lab,
        }
    }
}

impl Stage {
    /// Waits until the table has so many entries in a TCP state.
    pub fn until_entries(&self, state: &'static str, entries: usize) {
        self.watched
            .until(&format!("{entries} entries in {state}"), PATIENCE, |host| {
                host.count() >= entries as u64 && host.in_state(state) >= entries
            });
    }

    /// Stops all traffic and waits for its threads.
    pub fn quiet(&mut self) {
        self.traffic.clear();
    }
}
