//! What does an endpoint say?
//! Given an endpoint, ids and the provider filter, hands back the document's bytes, or nothing for unknown ids.
//! Never knows methods, statuses or headers.

use std::sync::OnceLock;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::people::Client;
use super::resources::Resources;
use super::world::{Project, Provider, World};
use crate::account_api::{Endpoint, Ids};

/// The documents of one world.
#[derive(Debug)]
pub(super) struct Documents {
    world: World,
    // Made when first asked for and kept: a list of thousands costs milliseconds, and nothing in it ever changes.
    all: OnceLock<Bytes>,
    by_provider: [OnceLock<Bytes>; 4],
}

impl Documents {
    pub(super) fn new(world: World) -> Self {
        Self { world, all: OnceLock::new(), by_provider: Default::default() }
    }

    pub(super) const fn world(&self) -> &World {
        &self.world
    }

    /// The document an endpoint answers with; `on_provider` narrows the list of clients alone.
    pub(super) fn find(&self, endpoint: Endpoint, ids: Ids<'_>, on_provider: Option<&str>) -> Option<Bytes> {
        let world = &self.world;
        if endpoint == Endpoint::Clients {
            return Some(self.list(on_provider));
        }
        let number = world.find_client(ids.client?)?;
        let used = |project| UsedProject::with_resources(world, number, project);
        let document = match endpoint {
            Endpoint::Clients | Endpoint::Client => Document::Client(Client::of(world, number)),
            Endpoint::ClientProviders => Document::Providers(by_provider(world, number, UsedProject::bare)),
            Endpoint::ClientResources => Document::Providers(by_provider(world, number, used)),
            Endpoint::ClientProjects => {
                Document::Projects(world.projects(number).into_iter().map(ListedProject::of).collect())
            }
            Endpoint::ProviderResources => {
                let mut providers = by_provider(world, number, used).into_iter();
                Document::Provider(providers.find(|provider| Some(provider.id) == ids.inner)?)
            }
            Endpoint::ProjectResources => {
                let mut projects = world.projects(number).into_iter();
                Document::Project(used(projects.find(|project| Some(&*project.id) == ids.inner)?))
            }
        };
        Some(json(&document))
    }

    fn list(&self, on_provider: Option<&str>) -> Bytes {
        let Some(wanted) = on_provider else {
            return self.all.get_or_init(|| json(&Document::Clients(Rows(&self.world, None)))).clone();
        };
        let mut lists = self.world.providers().iter().zip(&self.by_provider);
        // Nobody has a project on a provider that does not exist: an empty list, as a filter gives.
        lists.find(|(provider, _)| provider.id == wanted).map_or_else(
            || Bytes::from_static(br#"{"clients":[]}"#),
            |(_, list)| list.get_or_init(|| json(&Document::Clients(Rows(&self.world, Some(wanted))))).clone(),
        )
    }
}

/// A whole document: an object with the one member its variant names.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Document<'w> {
    Clients(Rows<'w>),
    Client(Client<'w>),
    Providers(Vec<UsedProvider<'w>>),
    Provider(UsedProvider<'w>),
    Projects(Vec<ListedProject<'w>>),
    Project(UsedProject),
}

/// The clients with a project on a provider, or all: written one at a time, never held together.
struct Rows<'w>(&'w World, Option<&'w str>);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(world, on_provider) = *self;
        let uses = |number: &u64| {
            on_provider.is_none_or(|id| world.projects(*number).iter().any(|project| project.provider.id == id))
        };
        serializer.collect_seq((0..world.clients()).filter(uses).map(|number| Client::of(world, number)))
    }
}

#[derive(Serialize)]
struct UsedProvider<'w> {
    id: &'w str,
    name: &'w str,
    projects: Vec<UsedProject>,
}

#[derive(Serialize)]
struct UsedProject {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Resources>,
}

#[derive(Serialize)]
struct ListedProject<'w> {
    id: String,
    provider: &'w str,
    name: String,
}

impl UsedProject {
    fn bare(project: Project<'_>) -> Self {
        Self { id: project.id, name: project.name, resources: None }
    }

    fn with_resources(world: &World, client: u64, project: Project<'_>) -> Self {
        Self { resources: Some(Resources::of(world, client, project.position)), ..Self::bare(project) }
    }
}

impl<'w> ListedProject<'w> {
    fn of(project: Project<'w>) -> Self {
        Self { id: project.id, provider: &project.provider.id, name: project.name }
    }
}

/// The client's projects under their providers, in the world's order of providers.
fn by_provider<'w>(
    world: &'w World,
    client: u64,
    mut used: impl FnMut(Project<'w>) -> UsedProject,
) -> Vec<UsedProvider<'w>> {
    let mut rest = world.projects(client);
    let mut of_provider = |provider: &'w Provider| {
        let here = |project: &mut Project<'_>| project.provider.id == provider.id;
        let projects: Vec<_> = rest.extract_if(.., here).map(&mut used).collect();
        (!projects.is_empty()).then_some(UsedProvider { id: &provider.id, name: provider.name, projects })
    };
    world.providers().iter().filter_map(&mut of_provider).collect()
}

fn json(document: &Document<'_>) -> Bytes {
    // Names and numbers written into memory: there is nothing here that can fail.
    serde_json::to_vec(document).map(Bytes::from).unwrap_or_default()
}
