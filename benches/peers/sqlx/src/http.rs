//! The tokens over HTTP.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::tokens::{Token, Tokens};

/// Serves, and returns where.
pub async fn serve(tokens: Tokens) -> String {
    let app = Router::new()
        .route("/api/v3/core/tokens/{identifier}/", get(retrieve).put(update))
        .with_state(tokens);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

#[derive(Deserialize)]
struct Change {
    identifier: String,
    description: String,
}

type Answer = Result<Json<Token>, StatusCode>;

async fn retrieve(
    State(tokens): State<Tokens>,
    Path(identifier): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let caller = caller(&tokens, &headers).await?;
    tokens.find(caller, &identifier).await.map(Json).map_err(refusal)
}

async fn update(
    State(tokens): State<Tokens>,
    Path(identifier): Path<String>,
    headers: HeaderMap,
    Json(change): Json<Change>,
) -> Answer {
    let caller = caller(&tokens, &headers).await?;
    if change.identifier != identifier {
        return Err(StatusCode::BAD_REQUEST);
    }
    tokens.update(caller, &identifier, &change.description).await.map(Json).map_err(refusal)
}

async fn caller(tokens: &Tokens, headers: &HeaderMap) -> Result<i64, StatusCode> {
    let header = headers.get(header::AUTHORIZATION).and_then(|header| header.to_str().ok());
    let key = header.and_then(|header| header.strip_prefix("Bearer "));
    let token = tokens.authenticate(key.ok_or(StatusCode::FORBIDDEN)?).await.map_err(refusal)?;
    token.map(|token| token.owner).ok_or(StatusCode::FORBIDDEN)
}

fn refusal(error: sqlx::Error) -> StatusCode {
    match error {
        sqlx::Error::RowNotFound => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
