//! From a request to a call of the service, and from its result to an answer.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use tokenkeep::{
    Caller, Created, KeyChange, TokenChange, TokenError, TokenList, TokenService, TokenView,
};

use crate::route::Operation;
use crate::{answer, body, etag, observe};

/// One request to one operation.
pub(crate) struct Call<'a> {
    pub(crate) service: &'a TokenService,
    pub(crate) caller: &'a Caller,
    pub(crate) identifier: &'a str,
    pub(crate) parts: &'a Parts,
    pub(crate) body: Body,
}

impl Call<'_> {
    /// Answers it.
    pub(crate) async fn run(self, operation: Operation) -> Result<Response, TokenError> {
        let identifier = self.identifier;
        let result = match operation {
            Operation::List => return self.list().await,
            Operation::Create => return self.create().await,
            Operation::Retrieve => self.retrieve().await,
            Operation::Update => self.update().await,
            Operation::PartialUpdate => self.partial_update().await,
            Operation::Destroy => self.destroy().await,
            Operation::ViewKey => self.view_key().await,
            Operation::SetKey => self.set_key().await,
            Operation::UsedBy => self.used_by().await,
            Operation::Rotate => self.rotate().await,
        };
        observe::identifier(identifier, &result);
        result
    }

    async fn list(self) -> Result<Response, TokenError> {
        let query = self.parts.uri.query().unwrap_or_default();
        let list = TokenList::from_pairs(form_urlencoded::parse(query.as_bytes()));
        Ok(answer::json(StatusCode::OK, &self.service.list(self.caller, &list).await?))
    }

    async fn create(self) -> Result<Response, TokenError> {
        let (service, caller) = (self.service, self.caller);
        let created = service.create(caller, self.change().await).await?;
        observe::identifier(created.view.token.identifier.as_str(), &Ok(()));
        Ok(answer_created(&created))
    }

    async fn retrieve(self) -> Result<Response, TokenError> {
        let view = self.service.retrieve(self.caller, self.identifier).await?;
        Ok(answer_token(StatusCode::OK, &view))
    }

    async fn update(self) -> Result<Response, TokenError> {
        let (service, caller, identifier) = (self.service, self.caller, self.identifier);
        let expected = etag::expected(&self.parts.headers);
        let change = self.change().await.expecting(expected);
        let updated = service.update(caller, identifier, change).await?;
        Ok(answer_token(StatusCode::OK, &updated.view))
    }

    async fn partial_update(self) -> Result<Response, TokenError> {
        let (service, caller, identifier) = (self.service, self.caller, self.identifier);
        let expected = etag::expected(&self.parts.headers);
        let change = self.change().await.expecting(expected);
        let updated = service.partial_update(caller, identifier, change).await?;
        Ok(answer_token(StatusCode::OK, &updated.view))
    }

    async fn destroy(self) -> Result<Response, TokenError> {
        let expected = etag::expected(&self.parts.headers);
        self.service.delete(self.caller, self.identifier, expected).await?;
        Ok(answer::no_content())
    }

    async fn view_key(self) -> Result<Response, TokenError> {
        let key = self.service.view_key(self.caller, self.identifier).await?;
        Ok(answer_key(key.expose()))
    }

    async fn set_key(self) -> Result<Response, TokenError> {
        let change = match body::read(&self.parts.headers, self.body).await {
            Ok(body) => KeyChange::from_json(&body),
            Err(error) => KeyChange::unreadable(error),
        };
        let change = change.expecting(etag::expected(&self.parts.headers));
        let view = self.service.set_key(self.caller, self.identifier, change).await?;
        Ok(answer::tagged(&view, answer::no_content()))
    }

    async fn used_by(self) -> Result<Response, TokenError> {
        let users = self.service.used_by(self.caller, self.identifier).await?;
        Ok(answer::json(StatusCode::OK, &users))
    }

    async fn rotate(self) -> Result<Response, TokenError> {
        let expected = etag::expected(&self.parts.headers);
        let rotated = self.service.rotate(self.caller, self.identifier, expected).await?;
        Ok(answer::tagged(&rotated.view, answer_key(rotated.key.expose())))
    }

    /// What the body asks to change. A body that cannot be read goes along, for the core to report
    /// once it has judged the caller.
    async fn change(self) -> TokenChange {
        match body::read(&self.parts.headers, self.body).await {
            Ok(body) => TokenChange::from_json(&body),
            Err(error) => TokenChange::unreadable(error),
        }
    }
}

fn answer_token(status: StatusCode, view: &TokenView) -> Response {
    answer::tagged(view, answer::json(status, view))
}

fn answer_key(key: &str) -> Response {
    answer::secret(answer::json(StatusCode::OK, &json!({ "key": key })))
}

/// A new token; with its key where this is the only time that it can be shown.
fn answer_created(created: &Created) -> Response {
    #[derive(Serialize)]
    struct WithKey<'a> {
        #[serde(flatten)]
        view: &'a TokenView,
        key: &'a str,
    }
    let view = &created.view;
    if created.is_key_retained() {
        return answer_token(StatusCode::CREATED, view);
    }
    let body = WithKey { view, key: created.key.expose() };
    answer::tagged(view, answer::secret(answer::json(StatusCode::CREATED, &body)))
}
