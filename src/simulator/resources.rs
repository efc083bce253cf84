//! What does a project use?
//! Given the world, a client's number and a project's place, hands back its resources as the document shows them.
//! Never differs between the endpoints that show the same project.

use serde::Serialize;

use super::draws::{Draws, date, whole_second};
use super::world::World;

// 2023-01-01T00:00:00Z; what is used began within two years of it, and was sampled after them.
const BEGAN: u64 = 1_672_531_200_000_000;
const DAYS: u64 = 730;
const SAMPLED: u64 = BEGAN + (DAYS + 400) * 86_400_000_000;

/// The nine kinds, in the document's order.
#[derive(Debug, Serialize)]
pub(super) struct Resources {
    dns_zones: Vec<Named>,
    floating_ips: Vec<FloatingIp>,
    load_balancers: Vec<Named>,
    object_storage: ObjectStorage,
    server_snapshots: Vec<ServerSnapshot>,
    servers: Vec<Server>,
    volume_snapshots: Vec<VolumeSnapshot>,
    volumes: Vec<Volume>,
    vpn_site_connections: Vec<Named>,
}

#[derive(Debug, Serialize)]
struct Named {
    end_date: Option<String>,
    id: String,
    name: String,
    start_date: String,
}

#[derive(Debug, Serialize)]
struct FloatingIp {
    end_date: Option<String>,
    id: String,
    ip_address: String,
    start_date: String,
}

#[derive(Debug, Serialize)]
struct ObjectStorage {
    bytes_used: u64,
    container_count: u64,
    object_count: u64,
    sample_date: String,
}

#[derive(Debug, Serialize)]
struct ServerSnapshot {
    end_date: Option<String>,
    id: String,
    name: String,
    server_id: String,
    size_bytes: u64,
    start_date: String,
}

#[derive(Debug, Serialize)]
struct Server {
    end_date: Option<String>,
    flavor: &'static str,
    id: String,
    name: String,
    start_date: String,
}

#[derive(Debug, Serialize)]
struct VolumeSnapshot {
    end_date: Option<String>,
    id: String,
    name: String,
    size_gb: u64,
    start_date: String,
    volume_id: String,
}

#[derive(Debug, Serialize)]
struct Volume {
    end_date: Option<String>,
    id: String,
    name: String,
    size_gb: u64,
    start_date: String,
    volume_type: &'static str,
}

/// When something began and, if it did, ended.
struct Span {
    start: u64,
    end: Option<u64>,
}

impl Span {
    fn draw(draws: &mut Draws) -> Self {
        let start = draws.within_days(BEGAN, DAYS);
        let end = draws.within_days(start, 300);
        Self { start, end: draws.chance(15).then_some(end) }
    }

    // The document shows servers, volumes and their snapshots starting on whole seconds.
    fn on_whole_second(self) -> Self {
        Self { start: whole_second(self.start), ..self }
    }

    fn start(&self) -> String {
        date(self.start)
    }

    fn end(&self) -> Option<String> {
        self.end.map(date)
    }
}

impl Resources {
    /// What the project at this place among the client's projects uses.
    pub(super) fn of(world: &World, client: u64, place: u64) -> Self {
        let draws = &mut world.draws_of_resources(client, place);
        let servers = some(draws, 1, 5, server);
        let volumes = some(draws, 0, 4, volume);
        Self {
            dns_zones: some(draws, 0, 3, |draws, _| {
                let zone = draws.pick(&["shop", "mail", "status", "static", "intern"]);
                named(draws, format!("{zone}.example"))
            }),
            floating_ips: some(draws, 0, 3, floating_ip),
            load_balancers: some(draws, 0, 2, |draws, nth| named(draws, format!("LoadBalancer{nth}"))),
            object_storage: object_storage(draws),
            server_snapshots: servers.iter().filter_map(|server| snapshot_of_server(draws, server)).collect(),
            volume_snapshots: volumes.iter().filter_map(|volume| snapshot_of_volume(draws, volume)).collect(),
            servers,
            volumes,
            vpn_site_connections: some(draws, 0, 2, |draws, nth| named(draws, format!("VPN{nth}"))),
        }
    }
}

fn some<T>(draws: &mut Draws, from: u64, to: u64, mut one: impl FnMut(&mut Draws, u64) -> T) -> Vec<T> {
    (1..=draws.between(from, to)).map(|nth| one(draws, nth)).collect()
}

fn named(draws: &mut Draws, name: String) -> Named {
    let span = Span::draw(draws);
    Named { end_date: span.end(), id: draws.uuid(), name, start_date: span.start() }
}

fn floating_ip(draws: &mut Draws, _nth: u64) -> FloatingIp {
    let span = Span::draw(draws);
    let network = draws.pick(&["198.51.100", "203.0.113"]);
    let ip_address = format!("{network}.{}", draws.between(1, 255));
    FloatingIp { end_date: span.end(), id: draws.uuid(), ip_address, start_date: span.start() }
}

fn object_storage(draws: &mut Draws) -> ObjectStorage {
    let container_count = draws.between(0, 6);
    let object_count = container_count * draws.between(1, 4000);
    ObjectStorage {
        bytes_used: object_count * draws.between(500, 9_000_000),
        container_count,
        object_count,
        sample_date: date(draws.within_days(SAMPLED, 1)),
    }
}

fn server(draws: &mut Draws, nth: u64) -> Server {
    let span = Span::draw(draws).on_whole_second();
    let role = draws.pick(&["web", "db", "cache", "worker", "mail", "build", "gate"]);
    Server {
        end_date: span.end(),
        flavor: draws.pick(&FLAVORS),
        id: draws.uuid(),
        name: format!("{role}-{nth}"),
        start_date: span.start(),
    }
}

fn snapshot_of_server(draws: &mut Draws, server: &Server) -> Option<ServerSnapshot> {
    let span = Span::draw(draws);
    draws.chance(40).then(|| ServerSnapshot {
        end_date: span.end(),
        id: draws.uuid(),
        name: format!("{}-snapshot", server.name),
        server_id: server.id.clone(),
        size_bytes: draws.between(1, 20) * 5 * GIB,
        start_date: span.start(),
    })
}

fn volume(draws: &mut Draws, nth: u64) -> Volume {
    let span = Span::draw(draws).on_whole_second();
    let role = draws.pick(&["home", "postgres", "backup", "media", "logs"]);
    Volume {
        end_date: span.end(),
        id: draws.uuid(),
        name: format!("{role}{nth}"),
        size_gb: draws.pick(&[3, 10, 20, 50, 100, 250, 500]),
        start_date: span.start(),
        volume_type: draws.pick(&VOLUME_TYPES),
    }
}

fn snapshot_of_volume(draws: &mut Draws, volume: &Volume) -> Option<VolumeSnapshot> {
    let span = Span::draw(draws).on_whole_second();
    draws.chance(40).then(|| VolumeSnapshot {
        end_date: span.end(),
        id: draws.uuid(),
        name: format!("{}-snapshot", volume.name),
        size_gb: volume.size_gb,
        start_date: span.start(),
        volume_id: volume.id.clone(),
    })
}

const GIB: u64 = 1 << 30;

const FLAVORS: [&str; 8] = [
    "general.pico.linux",
    "general.nano.linux",
    "general.micro.linux",
    "general.small.linux",
    "general.medium.windows",
    "memory.large.linux",
    "compute.large.linux",
    "compute.xlarge.windows",
];

const VOLUME_TYPES: [&str; 3] = [
    "7c0e5a52-0f1d-4a7c-9d53-2b8f6e4c1a90",
    "b1d94f36-58c2-4e0b-8a67-c3f20d7e9b14",
    "25e6a8c1-93bf-4d78-b2e4-6f1a0c5d8e37",
];
