//! Requests that bring a file: what came goes to its thread, and that says what became of it.

use super::Gateway;
use super::client::Token;
use super::outcome::Outcome;
use crate::http::{Answer, Body, Head, Piece, Request};
use crate::routes::last_part;
use crate::upload::{Refused, Upload, Uploaded};

/// Files that are received at a time, each with a thread.
const MAX_UPLOADS: usize = 8;

impl Gateway {
    /// Begins to take a file; who sends it may.
    pub(super) fn begin_upload(&mut self, token: Token, request: &Request) {
        let Some(share) = self.share.clone() else {
            return self.answer_line(token, 403, "nothing is taken here: start cjp2p-http with --share DIR");
        };
        if request.content_length.is_some_and(|length| length > share.most) {
            return self.answer_line(token, 413, "it is longer than --max-upload");
        }
        if !request.is_chunked && request.content_length.is_none() {
            return self.answer_line(
                token,
                411,
                "how long it is has to be said, or it has to come in chunks",
            );
        }
        if self.clients.values().filter(|client| client.upload.is_some()).count() >= MAX_UPLOADS {
            return self.answer_line(token, 503, "too many files come at the same time");
        }
        let Some(name) = last_part(&request.path) else {
            return self.answer_line(token, 400, "the path has to be the name of the file");
        };
        let done = self.tasks.teller();
        let done = move |result| done(Outcome::Uploaded(token, result));
        let now = self.session.now();
        match Upload::start(&share.folder, &name, share.most, self.waker.clone(), done) {
            Ok(upload) => {
                if let Some(client) = self.clients.get_mut(&token) {
                    client.upload = Some(upload);
                    client.connection.accept_body(now);
                }
            }
            Err(Refused { status, why }) => self.answer_line(token, status, &why),
        }
    }

    /// Passes on what came of a file.
    pub(super) fn turn_upload(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let Some(upload) = &mut client.upload else { return };
        if client.connection.is_body_broken() {
            client.upload = None;
            return self.answer_line(token, 400, "malformed chunks");
        }
        let bytes = if upload.has_room() { client.connection.take_body() } else { Vec::new() };
        if let Err(Refused { status, why }) = upload.take(bytes, client.connection.is_body_over()) {
            client.upload = None;
            self.answer_line(token, status, &why);
        }
    }

    /// All of a file is there, or it cannot be.
    pub(super) fn on_uploaded(&mut self, token: Token, result: Result<Uploaded, Refused>) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        if client.upload.take().is_none() {
            return;
        }
        match result {
            Ok(uploaded) => {
                let text = serde_json::to_string(&uploaded).unwrap_or_default() + "\n";
                let head = Head::new(201).with("Content-Type", "application/json");
                let head = head.with("Location", uploaded.path).with("Cache-Control", "no-store");
                self.answer(
                    token,
                    Answer { head, body: Body::Pieces([Piece::Bytes(text.into_bytes())].into()) },
                );
            }
            Err(Refused { status, why }) => self.answer_line(token, status, &why),
        }
        self.turn_client(token);
    }

    /// Threads may have room for more of what comes.
    pub(super) fn look_at_uploads(&mut self) {
        let waiting = self.clients.iter().filter(|(_, client)| client.upload.is_some());
        for token in waiting.map(|(&token, _)| token).collect::<Vec<_>>() {
            self.turn_client(token);
        }
    }
}
