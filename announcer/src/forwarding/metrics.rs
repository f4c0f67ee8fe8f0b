//! What is counted of the gateway.

use std::{collections::BTreeMap, sync::Arc};

use foghorn_portmap::{Answer, Fault, Report, Request, Standing};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

const ASKING: &str = "asking";
const FORWARDED: &str = "forwarded";
const FAILED: &str = "failed";
const CLOSING: &str = "closing";

/// Counters and gauges; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct ForwardingMetrics {
    mappings: Family<StateLabel, Gauge>,
    questions: Family<QuestionLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QuestionLabels {
    protocol: String,
    question: &'static str,
    result: &'static str,
}

impl ForwardingMetrics {
    /// New metrics, which `registry` shows from now on.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register(
            "foghorn_port_mappings",
            "Ports of this node's claims at the gateway by state: asking, forwarded, failed, closing",
            m.mappings,
        );
        registry.register(
            "foghorn_gateway_questions",
            "Questions to the gateway by protocol, kind and result",
            m.questions,
        );
        metrics
    }

    /// How the ports of this node's claims stand at the gateway.
    pub fn stand(&self, told: &BTreeMap<Arc<str>, Report>) {
        let standings = || told.values().flat_map(|report| report.ports.values());
        for state in [ASKING, FORWARDED, FAILED, CLOSING] {
            let count = standings().filter(|standing| word(standing) == state).count();
            let gauge = self.mappings.get_or_create_owned(&StateLabel { state });
            gauge.set(count.try_into().unwrap_or(i64::MAX));
        }
    }

    /// The gateway was asked.
    pub fn asked(&self, request: &Request, answer: &Result<Answer, Fault>) {
        let question = request.ask.name();
        let result = match answer {
            Ok(_) => "answered",
            Err(Fault::Silent(_) | Fault::Elsewhere(_) | Fault::NotBound(_)) => "silent",
            Err(_) => "refused",
        };
        let protocol = request.protocol.to_string();
        self.questions.get_or_create_owned(&QuestionLabels { protocol, question, result }).inc();
    }
}

const fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Asking => ASKING,
        Standing::Forwarded { .. } => FORWARDED,
        Standing::Failed(_) => FAILED,
        Standing::Closing { .. } => CLOSING,
    }
}
