//! Does what is in `deploy/` fit together?
//! Given its manifests, units and configurations, holds each against the other and against the real binary's `check`.
//! Never starts an engine or a cluster: what only those can tell is in `deploy/*/try`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::Table;

use crate::support::program;

const SHARED: &str = "kubernetes/overlays/shared/reseller-gateway.toml";
const SIDECAR: &str = "kubernetes/overlays/sidecar/reseller-gateway.toml";
const SYSTEMD: &str = "systemd/reseller-gateway.toml";

/// What the process itself needs, and each connection: measured, see `deploy/README.md`.
const ITSELF: u64 = 32 << 20;
const CONNECTION: u64 = 32 << 10;

fn at(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(at(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn toml(name: &str) -> Table {
    text(name).parse().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml(name: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The document of this kind in a file.
fn one(name: &str, kind: &str) -> Value {
    let found = yaml(name).into_iter().find(|document| document["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {name}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn named<'v>(values: &'v Value, name: &str) -> &'v Value {
    list(values).iter().find(|value| value["name"] == name).unwrap_or_else(|| panic!("no {name} in {values:#}"))
}

fn seconds(table: &Table, key: &str) -> u64 {
    let written = table["server"][key].as_str().unwrap();
    written.strip_suffix('s').unwrap().parse().unwrap()
}

fn bytes(written: &str) -> u64 {
    written.parse::<bytesize::ByteSize>().unwrap().as_u64()
}

/// What a configuration lets the process hold, as `deploy/README.md` adds it up.
fn most_memory(table: &Table) -> u64 {
    let number = |value: &toml::Value| u64::try_from(value.as_integer().unwrap()).unwrap();
    let upstream = &table["upstream"];
    let answers = 2 * number(&upstream["budget"]["max_in_flight"]) * bytes(upstream["max_response"].as_str().unwrap());
    let connections = CONNECTION * number(&table["server"]["max_connections"]);
    ITSELF + bytes(table["cache"]["max_bytes"].as_str().unwrap()) + answers + connections
}

/// Every path of a configuration, by its key.
fn paths(table: &Table) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            toml::Value::String(path) if key.ends_with("_file") || key == "dir" || path.starts_with("unix:") => {
                let path = path.trim_start_matches("unix:");
                found.extend((!path.is_empty()).then(|| (key.clone(), path.to_owned())));
            }
            toml::Value::Table(inner) => found.extend(paths(inner)),
            toml::Value::Array(items) => found.extend(items.iter().filter_map(toml::Value::as_table).flat_map(paths)),
            _ => {}
        }
    }
    found
}

#[test]
fn every_configuration_is_one_that_check_takes() {
    for name in [SHARED, SIDECAR, SYSTEMD] {
        let output = program().args(["check", "--static", "--config"]).arg(at(name)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {said}");
    }
}

/// What a pod and its configuration have to agree on.
fn pod_fits(pod: &Value, gateway: &Value, table: &Table) {
    let health = table["health"]["listen"].as_str().unwrap();
    let (host, port) = health.rsplit_once(':').unwrap();
    assert_eq!(host, "0.0.0.0", "probes come from outside the pod");
    assert_eq!(named(&gateway["ports"], "health")["containerPort"].to_string(), port);
    for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(gateway[probe]["httpGet"], serde_json::json!({"path": path, "port": "health"}), "{probe}");
    }
    let containerfile = text("container/Containerfile");
    let user = pod["securityContext"]["runAsUser"].to_string();
    assert!(containerfile.contains(&format!("\nUSER {user}:{}\n", pod["securityContext"]["runAsGroup"])), "{user}");
    assert_eq!(pod["securityContext"]["fsGroup"].to_string(), user, "it reads its secrets by this group");
    let safe = &gateway["securityContext"];
    assert_eq!((&safe["readOnlyRootFilesystem"], &safe["allowPrivilegeEscalation"]), (&true.into(), &false.into()));
    assert_eq!(safe["capabilities"]["drop"], serde_json::json!(["ALL"]));
    let mounts = list(&gateway["volumeMounts"]);
    for (key, path) in paths(table) {
        let mount = mounts.iter().find(|mount| {
            let folder = mount["mountPath"].as_str().unwrap();
            path == folder || path.starts_with(&format!("{folder}/"))
        });
        let mount = mount.unwrap_or_else(|| panic!("{key} = {path:?} lies in no volume"));
        assert_eq!(mount["readOnly"] == true, key.ends_with("_file"), "{key} = {path:?}");
    }
    for mount in mounts {
        assert!(mount.get("subPath").is_none(), "what is mounted by subPath never changes: {mount}");
        named(&pod["volumes"], mount["name"].as_str().unwrap());
    }
    let config = containerfile.lines().find_map(|line| line.strip_prefix("ENV RESELLER_GATEWAY_CONFIG="));
    let folder = Path::new(config.unwrap()).parent().unwrap().to_str().unwrap();
    assert!(mounts.iter().any(|mount| mount["mountPath"] == folder && mount["readOnly"] == true), "{folder}");
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace > seconds(table, "drain_delay") + seconds(table, "shutdown_grace"), "{grace}");
    let limit = gateway["resources"]["limits"]["memory"].as_str().unwrap();
    let limit = bytes(&format!("{limit}B"));
    let most = most_memory(table);
    assert!(limit >= most, "{limit} for {most}");
}

#[test]
fn the_shared_gateways_pod_fits_its_configuration() {
    let table = toml(SHARED);
    let deployment = one("kubernetes/base/deployment.yaml", "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let gateway = named(&pod["containers"], "gateway");
    pod_fits(pod, gateway, &table);
    assert_eq!(
        (&deployment["spec"]["replicas"], &deployment["spec"]["strategy"]["type"]),
        (&1.into(), &"Recreate".into())
    );
    let (_, port) = table["listeners"][0]["address"].as_str().unwrap().rsplit_once(':').unwrap();
    assert_eq!(named(&gateway["ports"], "https")["containerPort"].to_string(), port);
    let service = one("kubernetes/base/service.yaml", "Service");
    let name = service["metadata"]["name"].as_str().unwrap();
    let exposed = named(&service["spec"]["ports"], "https");
    assert_eq!((&exposed["targetPort"], &exposed["port"]), (&"https".into(), &443.into()));
    let namespace = one("kubernetes/overlays/shared/kustomization.yaml", "Kustomization");
    let url = format!("https://{name}.{}.svc", namespace["namespace"].as_str().unwrap());
    assert_eq!(table["server"]["public_url"].as_str(), Some(url.as_str()));
    let claim = named(&pod["volumes"], "state")["persistentVolumeClaim"]["claimName"].clone();
    assert_eq!(one("kubernetes/base/persistentvolumeclaim.yaml", "PersistentVolumeClaim")["metadata"]["name"], claim);
    for port in ["8443", "9536"] {
        assert!(text("container/Containerfile").lines().any(|line| line.starts_with("EXPOSE ") && line.contains(port)));
    }
}

#[test]
fn the_sidecar_fits_its_configuration_and_the_shared_gateway() {
    let (table, shared) = (toml(SIDECAR), toml(SHARED));
    const FILE: &str = "kubernetes/overlays/sidecar/application.yaml";
    let deployment = one(FILE, "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let gateway = named(&pod["initContainers"], "gateway");
    assert_eq!(gateway["restartPolicy"], "Always");
    pod_fits(pod, gateway, &table);
    // The application asks where the gateway listens, and stands for its ambient caller.
    let listener = table["listeners"][0].as_table().unwrap();
    let address = listener["address"].as_str().unwrap();
    let api = &named(&pod["containers"], "billing")["env"];
    assert_eq!(named(api, "ACCOUNT_API")["value"], format!("http://{address}/reseller/account/v1"));
    assert!(address.starts_with("127.0.0.1:") && listener["ambient"] == table["callers"][0]["name"]);
    // The shared gateway knows whom the pod's service account stands for, and takes what it sends.
    let url = format!("{}:443", shared["server"]["public_url"].as_str().unwrap());
    assert_eq!(table["upstream"]["url"].as_str(), Some(url.as_str()));
    let namespace = one("kubernetes/overlays/sidecar/kustomization.yaml", "Kustomization")["namespace"].clone();
    let account = one(FILE, "ServiceAccount")["metadata"]["name"].clone();
    assert_eq!(pod["serviceAccountName"], account);
    let subject = &shared["callers"][0]["subjects"][0];
    let wanted = format!("system:serviceaccount:{}:{}", namespace.as_str().unwrap(), account.as_str().unwrap());
    assert_eq!(subject["sub"].as_str(), Some(wanted.as_str()));
    assert_eq!(subject["issuer"], shared["trust"][0]["issuer"]);
    let projected = &named(&pod["volumes"], "gateway-token")["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(projected["audience"].as_str(), shared["trust"][0]["audience"].as_str());
    // Both namespaces are let through to it.
    for overlay in ["shared", "sidecar"] {
        let namespace = one(&format!("kubernetes/overlays/{overlay}/namespace.yaml"), "Namespace");
        let labels = &namespace["metadata"]["labels"];
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
        assert_eq!(labels["account-gateway-client"], "true");
    }
}

#[test]
fn the_unit_fits_its_configuration() {
    let (table, unit, socket) =
        (toml(SYSTEMD), text("systemd/reseller-gateway.service"), text("systemd/reseller-gateway.socket"));
    let said = |key: &str| -> Vec<&str> {
        let values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values.collect()
    };
    let state = format!("/var/lib/{}", said("StateDirectory")[0]);
    let loaded: Vec<&str> = said("LoadCredential").iter().map(|it| it.split_once(':').unwrap().0).collect();
    for (key, path) in paths(&table) {
        match path.strip_prefix("/run/credentials/reseller-gateway.service/") {
            Some(credential) => assert!(loaded.contains(&credential), "{key} = {path:?} is not loaded"),
            None => assert!(path.starts_with(&state), "{key} = {path:?} is neither a credential nor state"),
        }
    }
    let stop: u64 = said("TimeoutStopSec")[0].parse().unwrap();
    assert!(stop > seconds(&table, "drain_delay") + seconds(&table, "shutdown_grace"));
    let limit = bytes(&said("MemoryMax")[0].replace('M', "MiB"));
    assert!(limit >= most_memory(&table), "{limit}");
    let name = socket.lines().find_map(|line| line.strip_prefix("FileDescriptorName=")).unwrap();
    assert!(text(SYSTEMD).contains(&format!("# address = \"systemd:{name}\"")));
    assert_eq!(said("Environment"), ["RESELLER_GATEWAY_CONFIG=/etc/reseller-gateway/reseller-gateway.toml"]);
}
