//! What a scenario has built: the namespace to look into, its traffic, the place that a verdict should name.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::lab::{Family, Host, Lab, address, service, wire_name};
use crate::packet::nobodies;
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
    pub near_address: IpAddr,
    lab: Lab,
}

impl Pair {
    pub fn new(family: Family, near: &str, far: &str) -> Pair {
        let mut lab = Lab::new();
        let (near, far) = (lab.host(near), lab.host(far));
        let wire = lab.wire(&near, &far);
        Pair::over(lab, near, far, wire, family)
    }

    /// The answer takes twice `delay` to come. The traffic is the way between them.
    pub fn far_apart(family: Family, near: &str, far: &str, delay: Duration) -> (Pair, Traffic) {
        let mut lab = Lab::new();
        let (near, far) = (lab.host(near), lab.host(far));
        let (wire, way) = lab.long_wire(&near, &far, delay);
        (Pair::over(lab, near, far, wire, family), way)
    }

    fn over(lab: Lab, near: Host, far: Host, wire: u8, family: Family) -> Pair {
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
    family: Family,
    /// The wire between clients and firewall.
    inner: u8,
    lab: Lab,
}

impl Routed {
    pub fn new(family: Family) -> Routed {
        let mut lab = Lab::new();
        let (client, firewall, server) = (lab.host("client"), lab.host("firewall"), lab.host("server"));
        let inner = lab.wire(&client, &firewall);
        let outer = lab.wire(&server, &firewall);
        Routed::over(lab, [client, firewall, server], (inner, outer), family)
    }

    /// The server is far from the firewall, or the clients are.
    pub fn far_apart(family: Family, clients: bool, delay: Duration) -> (Routed, Traffic) {
        let mut lab = Lab::new();
        let (client, firewall, server) = (lab.host("client"), lab.host("firewall"), lab.host("server"));
        let (inner, outer, way) = if clients {
            let (inner, way) = lab.long_wire(&client, &firewall, delay);
            (inner, lab.wire(&server, &firewall), way)
        } else {
            let inner = lab.wire(&client, &firewall);
            let (outer, way) = lab.long_wire(&server, &firewall, delay);
            (inner, outer, way)
        };
        (
            Routed::over(lab, [client, firewall, server], (inner, outer), family),
            way,
        )
    }

    fn over(lab: Lab, hosts: [Host; 3], (inner, outer): (u8, u8), family: Family) -> Routed {
        let [client, firewall, server] = hosts;
        firewall.forwards();
        firewall.tracks();
        for (host, wire) in [(&client, inner), (&server, outer)] {
            for family in [Family::V4, Family::V6] {
                host.ip(&format!("route add default via {}", address(family, wire, 2)));
            }
        }
        for family in [Family::V4, Family::V6] {
            firewall.ip(&everybody_behind(address(family, inner, 1)));
        }
        Routed {
            client,
            firewall,
            server,
            service: service(family, outer, 1),
            family,
            inner,
            lab,
        }
    }

    /// The clients' wire ends in a bridge of the firewall.
    pub fn bridges_clients(&self) {
        let (name, four, six) = (
            wire_name(self.inner),
            address(Family::V4, self.inner, 2),
            address(Family::V6, self.inner, 2),
        );
        self.firewall.ip(&format!(
            "link add bridge0 type bridge\n\
             link set bridge0 up\n\
             link set {name} master bridge0\n\
             addr flush dev {name}\n\
             addr add {four}/24 dev bridge0\n\
             addr add {six}/64 dev bridge0 nodad"
        ));
        for family in [Family::V4, Family::V6] {
            // It went with the address that it led through.
            self.firewall
                .ip(&everybody_behind(address(family, self.inner, 1)).replace("add", "replace"));
        }
    }

    /// A second wire between clients and server, past the firewall: the answers take it, or what the clients send does.
    pub fn other_way(&mut self, answers: bool) {
        let wire = self.lab.wire(&self.client, &self.server);
        let client = address(self.family, self.inner, 1);
        let via = |end| address(self.family, wire, end);
        if answers {
            self.server.ip(&format!("route add {client} via {}", via(1)));
        } else {
            let service = self.service.ip();
            self.client
                .ip(&format!("route add {service} via {} src {client}", via(2)));
        }
    }

    /// The service gets an address of the firewall's; returned is where clients find it.
    pub fn publishes(&self) -> SocketAddr {
        let family = if self.service.is_ipv4() { "ip" } else { "ip6" };
        let public = SocketAddr::new(address(self.family, self.inner, 2), self.service.port());
        self.firewall.nft(&format!(
            "table {family} publish {{ chain pre {{ type nat hook prerouting priority dstnat; \
             {family} daddr {} tcp dport {} dnat to {}; }}; }}",
            public.ip(),
            public.port(),
            self.service
        ));
        public
    }

    pub fn watch_server(self, traffic: Vec<Traffic>) -> Stage {
        Stage {
            traffic,
            watched: self.server.clone(),
            serving: self.server,
            place: self.service,
            _lab: self.lab,
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

/// The route to the nobodies' blocks: answers to them go to whom they come from.
pub fn everybody_behind(gateway: IpAddr) -> String {
    format!("route add {} via {gateway}", nobodies(gateway.is_ipv4()))
}

impl Stage {
    /// Hosts that a scenario has wired itself.
    pub fn of(lab: Lab, traffic: Vec<Traffic>, watched: Host, serving: Host, place: SocketAddr) -> Stage {
        Stage {
            traffic,
            watched,
            serving,
            place,
            _lab: lab,
        }
    }

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
