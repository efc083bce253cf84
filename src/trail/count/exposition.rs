//! What does the process itself count, and how near are its limits?
//! Given figures, writes them in the text format of Prometheus, with the names that its own libraries use where there are any.
//! Never asks the kernel: what cannot be known is left out.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::{Counts, Gauges, HEARD, NAME, counter, gauge, head};

/// What the kernel knows of this process; `None` where it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Memory in use, in bytes.
    pub resident: Option<u64>,
    /// Memory it may have at most, in bytes.
    pub memory_limit: Option<u64>,
    /// Files and sockets open.
    pub open_fds: Option<u64>,
    /// And at most.
    pub max_fds: Option<u64>,
    /// Time on a processor, in seconds.
    pub cpu: Option<f64>,
    /// When it started, in seconds since 1970.
    pub started: Option<f64>,
}

/// The most there may be of what is counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Most {
    /// Connections of callers.
    pub connections: usize,
    /// Calls to the partner under way.
    pub calls_in_flight: usize,
    /// Calls to the partner at once after a rest; `None` if they are unlimited.
    pub budget: Option<u32>,
    /// Bytes of entries.
    pub cache_bytes: u64,
}

impl Counts {
    pub(super) fn write_partner(&self, out: &mut String) -> std::fmt::Result {
        let help = "What calls to the partner came to: a class of statuses, or how they failed.";
        head(out, "partner_answers_total", "counter", help)?;
        for (result, many) in HEARD.iter().zip(&self.all.heard) {
            let many = many.load(Ordering::Relaxed);
            writeln!(out, r#"{NAME}partner_answers_total{{result="{result}"}} {many}"#)?;
        }
        Ok(())
    }
}

/// The gauges; `callers` are those of the configuration.
pub(super) fn write(out: &mut String, gauges: &Gauges, callers: &[&String]) -> std::fmt::Result {
    let Most { connections, calls_in_flight, budget, cache_bytes } = gauges.most;
    gauge(out, "connections_max", "Connections of callers that there may be.", connections)?;
    gauge(out, "partner_calls_in_flight_max", "Calls to the partner that may be under way.", calls_in_flight)?;
    gauge(out, "cache_max_bytes", "Bytes the entries may be weighed at.", cache_bytes)?;
    if let Some(budget) = budget {
        gauge(out, "budget_max", "Calls that would be let through at once after a rest.", budget)?;
    }
    if let Some(age) = gauges.partner_key_age {
        gauge(out, "partner_key_age_seconds", "Since the file of the key that the partner is shown was changed.", age)?;
    }
    let help = "Callers whose newest token in use has less than a tenth of its life left.";
    head(out, "tokens_expiring_in_use", "gauge", help)?;
    for caller in callers {
        let soon = u8::from(gauges.expiring.contains(caller));
        writeln!(out, r#"{NAME}tokens_expiring_in_use{{caller="{caller}"}} {soon}"#)?;
    }
    let failures = gauges.tokens.ledger_failures;
    counter(out, "ledger_failures_total", "Times that the ledger of tokens could not be written.", failures)?;
    head(out, "build_info", "gauge", "Which version runs.")?;
    writeln!(out, r#"{NAME}build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION"))?;
    process(out, &gauges.process)
}

fn process(out: &mut String, process: &Process) -> std::fmt::Result {
    let Process { resident, memory_limit, open_fds, max_fds, cpu, started } = *process;
    if let Some(limit) = memory_limit {
        gauge(out, "memory_limit_bytes", "Memory that the process may use at most.", limit)?;
    }
    let mut standard = |name: &str, kind: &str, help: &str, value: Option<String>| match value {
        Some(value) => writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"),
        None => Ok(()),
    };
    let text = |number: Option<u64>| number.map(|number| number.to_string());
    standard("process_resident_memory_bytes", "gauge", "Memory in use.", text(resident))?;
    standard("process_open_fds", "gauge", "Files and sockets open.", text(open_fds))?;
    standard("process_max_fds", "gauge", "Files and sockets that may be open.", text(max_fds))?;
    let (cpu, started) = (cpu.map(|seconds| seconds.to_string()), started.map(|seconds| seconds.to_string()));
    standard("process_cpu_seconds_total", "counter", "Time on a processor.", cpu)?;
    standard("process_start_time_seconds", "gauge", "When the process started, since 1970.", started)
}
