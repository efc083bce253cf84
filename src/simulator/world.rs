//! Who exists?
//! Given how many clients and a seed, hands back providers, a client's number by its id, and a client's projects.
//! Never holds a client: each is worked out when it is asked for, so that a hundred thousand cost nothing to start.

use super::draws::{Draws, scramble, unscramble};

// What a sequence of draws is for: different purposes never share one.
const PROVIDER: u64 = 1;
const CLIENT_ID: u64 = 2;
const PROJECTS: u64 = 3;
const RESELLER: u64 = 4;
const CLIENT: u64 = 5;
const RESOURCES: u64 = 6;

const PROVIDER_NAMES: [&str; 4] = ["Borealis NA", "Borealis EU", "Meridian AP", "Pampa SA"];

/// Everything that exists for one reseller.
#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    clients: u64,
    providers: [Provider; 4],
    reseller_id: String,
}

/// One provider.
#[derive(Debug, Clone)]
pub(super) struct Provider {
    pub(super) id: String,
    pub(super) name: &'static str,
}

/// One project of one client.
#[derive(Debug)]
pub(super) struct Project<'w> {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) provider: &'w Provider,
    /// Its place among the client's projects.
    pub(super) position: u64,
}

impl World {
    pub(super) fn new(clients: usize, seed: u64) -> Self {
        let mut draws = Draws::new(seed, &[PROVIDER]);
        let providers = PROVIDER_NAMES.map(|name| Provider { id: draws.uuid(), name });
        let reseller_id = Draws::new(seed, &[RESELLER]).uuid();
        Self { seed, clients: clients as u64, providers, reseller_id }
    }

    /// How many clients there are; they are numbered from zero.
    pub(super) const fn clients(&self) -> u64 {
        self.clients
    }

    pub(super) const fn providers(&self) -> &[Provider] {
        &self.providers
    }

    pub(super) fn reseller_id(&self) -> &str {
        &self.reseller_id
    }

    /// The id of a client: its number is hidden in the last 48 bits, so that no map of ids is needed.
    pub(super) fn client_id(&self, number: u64) -> String {
        Draws::new(self.seed, &[CLIENT_ID, number]).uuid_ending_in(scramble(self.seed, number))
    }

    /// The number of the client with this id, if there is one.
    pub(super) fn find_client(&self, id: &str) -> Option<u64> {
        let (_, node) = id.rsplit_once('-')?;
        let number = unscramble(self.seed, u64::from_str_radix(node, 16).ok()?);
        (number < self.clients && self.client_id(number) == id).then_some(number)
    }

    /// The client's two to four projects, on two or three providers, the default one first.
    pub(super) fn projects(&self, client: u64) -> Vec<Project<'_>> {
        let mut draws = Draws::new(self.seed, &[PROJECTS, client]);
        // Two mostly: repeated entries are the odds.
        let count = draws.pick(&[2, 2, 2, 2, 2, 3, 3, 4]);
        let used = draws.between(2, 4).min(count);
        let first = draws.between(0, 4);
        let purpose = draws.pick(&["web", "shop", "core", "data", "erp", "intranet", "app", "lab"]);
        let stage = ["", "-staging", "-dr", "-sandbox"];
        (0..count)
            .zip(stage)
            .filter_map(|(position, stage)| {
                // The first projects go round the providers in use, so that none of them is without one.
                let turn = if position < used { position } else { draws.between(0, used) };
                let provider = usize::try_from((first + turn) % 4).ok().and_then(|at| self.providers.get(at))?;
                // Names are often empty in the document's examples.
                let name = if position > 0 && draws.chance(15) { String::new() } else { format!("{purpose}{stage}") };
                Some(Project { id: draws.uuid(), name, provider, position })
            })
            .collect()
    }

    /// The draws that say who a client is.
    pub(super) fn draws_of_client(&self, client: u64) -> Draws {
        Draws::new(self.seed, &[CLIENT, client])
    }

    /// The draws that say what a project uses: of client and place alone, so that every endpoint tells the same.
    pub(super) fn draws_of_resources(&self, client: u64, position: u64) -> Draws {
        Draws::new(self.seed, &[RESOURCES, client, position])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_client_is_found_by_its_id_and_nobody_by_another() {
        let (world, other) = (World::new(500, 7), World::new(500, 8));
        for number in 0..500 {
            assert_eq!(world.find_client(&world.client_id(number)), Some(number));
            assert_eq!(world.find_client(&other.client_id(number)), None);
            assert_eq!(world.find_client(&world.client_id(number).to_uppercase()), None);
        }
        for id in ["", "-", "x-y", &world.client_id(500)] {
            assert_eq!(world.find_client(id), None, "{id}");
        }
    }

    #[test]
    fn clients_have_two_to_four_projects_on_two_or_three_of_four_providers() {
        let world = World::new(300, 1);
        let (mut counts, mut spreads, mut all) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for client in 0..300 {
            let projects = world.projects(client);
            let used: BTreeSet<_> = projects.iter().map(|project| project.provider.id.clone()).collect();
            counts.insert(projects.len());
            spreads.insert(used.len());
            all.extend(used);
        }
        assert_eq!(counts, [2, 3, 4].into());
        assert_eq!(spreads, [2, 3].into());
        assert_eq!(all.len(), 4);
    }
}
