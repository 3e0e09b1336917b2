//! Messages.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use ruche_domain::events;
use ruche_projections::messages;

use super::effect::ToolEffect;
use super::read::Loading;
use super::scalars::{DateTime, Json, Long, PositionScalar};
use super::session::id;
use super::words::{Requestor, Role, TextForm};

/// A message of a conversation.
pub(super) struct Message(pub messages::Message);

/// A tool call that a message asks for.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct ToolCallRequest {
    /// Number of the call within its message, from 0.
    ordinal: u32,
    /// Name of the tool.
    name: String,
    /// The arguments exactly as the model wrote them; text, because they need not be valid JSON.
    arguments: String,
    /// How the source wrote the arguments; absent means as a string.
    arguments_form: Option<TextForm>,
    /// The provider's id of the call. Not unique, not even within a session.
    provider_call_id: Option<String>,
    /// Our id of the call.
    call_id: Option<ID>,
    /// Who asked for it.
    requestor: Option<Requestor>,
    #[graphql(skip)]
    call: Option<ruche_domain::ids::CallId>,
}

#[async_graphql::ComplexObject]
impl ToolCallRequest {
    /// What became of it.
    async fn effect(&self, ctx: &Context<'_>) -> Result<Option<ToolEffect>> {
        let Some(call) = self.call else { return Ok(None) };
        Ok(ctx
            .data_unchecked::<Loading>()
            .load_one(call)
            .await?
            .map(ToolEffect))
    }
}

impl From<&events::ToolCallRequest> for ToolCallRequest {
    fn from(request: &events::ToolCallRequest) -> Self {
        Self {
            ordinal: request.ordinal,
            name: request.name.clone(),
            arguments: request.arguments.clone(),
            arguments_form: request.arguments_form.map(Into::into),
            provider_call_id: request.provider_call_id.clone(),
            call_id: request.call_id.map(id),
            requestor: request.requestor.map(Into::into),
            call: request.call_id,
        }
    }
}

/// A message of a conversation.
#[Object]
impl Message {
    /// Our id of it.
    async fn id(&self) -> Option<ID> {
        self.0.message_id.map(id)
    }

    /// Session that it belongs to.
    async fn session_id(&self) -> ID {
        id(self.0.session)
    }

    /// Turn that it belongs to.
    async fn turn_id(&self) -> Option<ID> {
        self.0.turn.map(id)
    }

    /// Its record; the payload stands there.
    async fn position(&self) -> PositionScalar {
        PositionScalar(self.0.position)
    }

    /// Its number in the session, from 0, if the source gave one.
    async fn ordinal(&self) -> Option<Long> {
        self.0.ordinal.map(Long::count)
    }

    /// Type of its event.
    async fn event_type(&self) -> &str {
        &self.0.event_type
    }

    /// Who speaks; unknown where the payload was erased.
    async fn role(&self) -> Option<Role> {
        self.0.role.map(Into::into)
    }

    /// The text. Absent is no text, which is not an empty one.
    async fn text(&self) -> Option<&str> {
        self.0.text.as_deref()
    }

    /// How the source wrote the text of a tool's answer; absent means as a string.
    async fn text_form(&self) -> Option<&str> {
        self.0.text_form.as_deref()
    }

    /// Tool calls that it asks for.
    #[graphql(complexity = "2 * child_complexity")]
    async fn tool_calls(&self) -> Vec<ToolCallRequest> {
        self.0.tool_calls.iter().map(ToolCallRequest::from).collect()
    }

    /// Parts, where it is more than one text.
    async fn parts(&self) -> Vec<Json> {
        let parts = self
            .0
            .parts
            .iter()
            .filter_map(|part| serde_json::to_value(part).ok());
        parts.map(Json).collect()
    }

    /// Name of the speaker within the role.
    async fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Name of the tool that answers.
    async fn tool(&self) -> Option<&str> {
        self.0.tool.as_deref()
    }

    /// The call that it answers.
    async fn call_id(&self) -> Option<ID> {
        self.0.call.map(id)
    }

    /// The provider's id of the call that it answers.
    async fn provider_call_id(&self) -> Option<&str> {
        self.0.provider_call_id.as_deref()
    }

    /// Whether it is the answer of a failed call.
    async fn is_error(&self) -> bool {
        self.0.is_error
    }

    /// The error in the source's own words, where it stands apart from the text.
    async fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// The client's own id of it.
    async fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }

    /// Channel that it went through.
    async fn channel(&self) -> Option<&str> {
        self.0.channel.as_deref()
    }

    /// Free fields of the source.
    async fn ext(&self) -> Option<Json> {
        let text = self.0.ext.as_deref()?;
        serde_json::from_str(text).ok().map(Json)
    }

    /// Whether its payload was erased.
    async fn erased(&self) -> bool {
        self.0.erased
    }

    /// When it was said.
    async fn occurred_at(&self) -> DateTime {
        DateTime(self.0.occurred_at)
    }
}
