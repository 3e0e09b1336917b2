//! `policy.*`: bundles of rules and what they decided.

use crate::ids::EventId;
use crate::measures::{Digest, Ratio};
use crate::payload::{Ext, List, payloads};
use crate::words::words;

words! {
    /// Where in the life of an agent policy is asked.
    pub enum InterventionPoint {
        /// The agent starts.
        AgentStartup = "agent_startup",
        /// Words of the interlocutor come in.
        Input = "input",
        /// Before a model is called.
        PreModelCall = "pre_model_call",
        /// After a model answered.
        PostModelCall = "post_model_call",
        /// Before a tool is called.
        PreToolCall = "pre_tool_call",
        /// After a tool answered.
        PostToolCall = "post_tool_call",
        /// Words go out.
        Output = "output",
        /// The agent stops.
        AgentShutdown = "agent_shutdown",
        /// Before memory is written.
        MemoryWrite = "memory_write",
    }

    /// What policy says. Deny overrides allow; no answer is a denial.
    pub enum PolicyVerdict {
        /// It may happen.
        Allow = "allow",
        /// It may not.
        Deny = "deny",
        /// A person has to agree first.
        RequireApproval = "require_approval",
        /// It may happen in another form.
        Transform = "transform",
    }

    /// How uncertainty was measured.
    pub enum EhiMethod {
        /// The agent said so itself.
        SelfReport = "self_report",
        /// Several answers were compared.
        SelfConsistency = "self_consistency",
        /// Several models were compared.
        Ensemble = "ensemble",
        /// A calibrated classifier.
        CalibratedClassifier = "calibrated_classifier",
        /// No score was given; it counts as 1.
        Missing = "missing",
    }
}

payloads! {
    /// How unsure the agent is: the epistemic humility index.
    pub struct Ehi {
        /// Uncertainty from 0 to 1; higher means less sure.
        pub uncertainty: Ratio,
        /// How it was measured.
        pub method: EhiMethod,
        /// Answers that were compared.
        pub samples: Option<u32>,
        /// Id of the calibration.
        pub calibration_id: Option<String>,
    }

    /// One rule that had a say.
    pub struct PolicyReason {
        /// Name of the rule.
        pub rule: String,
        /// What it says.
        pub message: Option<String>,
    }

    /// What has to be done along with a verdict.
    pub struct PolicyObligations {
        /// How many distinct people have to agree.
        pub approvals_required: Option<u32>,
        /// Groups that they have to come from.
        pub groups: Vec<String>,
        /// How long the approval may take, µs.
        pub approval_ttl_us: Option<u64>,
        /// How surely a reviewer has to be known.
        pub assurance: Option<String>,
        /// JSON pointers to what reviewers must not see.
        pub redact: Vec<String>,
        /// Further obligations, by the names of the bundle.
        pub ext: Ext,
    }

    /// A bundle of rules was published.
    pub struct PolicyBundlePublished {
        /// SHA-256 of the bundle.
        pub digest: Digest,
        /// Engine that runs it, such as `rego`.
        pub engine: String,
        /// Version of the engine.
        pub engine_version: String,
        /// Version of the bundle, from 1.
        pub version: Option<u64>,
        /// SHA-256 of the bundle that it replaces.
        pub previous_digest: Option<Digest>,
        /// The modules, by path.
        pub modules: Ext,
        /// Opaque reference of the author.
        pub author: Option<String>,
        /// Why.
        pub reason: Option<String>,
        /// The approval that allowed it.
        pub approval_id: Option<String>,
    }

    /// Policy was asked and answered.
    pub struct PolicyEvaluated {
        /// Id of the decision.
        pub decision_id: String,
        /// Where it was asked.
        pub intervention_point: InterventionPoint,
        /// What it says.
        pub verdict: PolicyVerdict,
        /// SHA-256 of the canonical input.
        pub input_digest: Digest,
        /// SHA-256 of the bundle.
        pub bundle_digest: Digest,
        /// The rules that had a say.
        pub reasons: Vec<PolicyReason>,
        /// What has to be done along with it.
        pub obligations: Option<PolicyObligations>,
        /// How unsure the agent was.
        pub ehi: Option<Ehi>,
        /// Threshold at or above which a person is asked.
        pub threshold: Option<Ratio>,
        /// The input itself.
        pub input: Option<serde_json::Value>,
        /// What to do instead, if the verdict is to transform.
        pub transformed: Option<serde_json::Value>,
        /// SHA-256 of the canonical action.
        pub action_digest: Option<Digest>,
        /// Version of the engine.
        pub engine_version: Option<String>,
        /// How long it took, µs.
        pub latency_us: Option<u64>,
    }

    /// Policy could not answer, so the answer was no.
    pub struct PolicyFailedClosed {
        /// Why it could not answer.
        pub cause: String,
        /// Where it was asked.
        pub intervention_point: InterventionPoint,
        /// Id of the decision.
        pub decision_id: Option<String>,
        /// SHA-256 of the bundle.
        pub bundle_digest: Option<Digest>,
        /// SHA-256 of the canonical input.
        pub input_digest: Option<Digest>,
    }

    /// A bundle that is not in effect was asked beside the one that is.
    pub struct PolicyShadowEvaluated {
        /// The decision of the bundle in effect.
        pub decision_id: String,
        /// SHA-256 of the bundle on trial.
        pub bundle_digest: Digest,
        /// What the bundle on trial says.
        pub verdict: PolicyVerdict,
        /// What the bundle in effect said.
        pub live_verdict: PolicyVerdict,
        /// The rules that had a say.
        pub reasons: Vec<PolicyReason>,
        /// The events compared.
        pub evidence_event_ids: List<EventId>,
    }
}
