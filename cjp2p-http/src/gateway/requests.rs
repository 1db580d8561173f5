//! Requests: who asks, what for, and what can be answered at once.

use cjp2p_wire::content_id::ContentId;

use super::Gateway;
use super::client::Token;
use super::finding::Asked;
use super::policy::{IMMUTABLE, POLICY};
use super::reading::{Reading, tag_of};
use crate::guard::{Caller, Host};
use crate::http::request::Bad;
use crate::http::{Answer, Head, Method, Request, content};
use crate::routes::{Root, Target, route};

/// Which sites may have what is sent as a part of their pages.
const RESOURCE_POLICY: &str = "Cross-Origin-Resource-Policy";
/// What can be done with anything here.
const ALLOWED: &str = "GET, HEAD, OPTIONS";

impl Gateway {
    pub(super) fn on_request(&mut self, token: Token, request: Result<Request, Bad>) {
        let Some(client) = self.clients.get(&token) else { return };
        let request = match request {
            Ok(request) => request,
            Err(Bad { status, why }) => return self.answer_line(token, status, why),
        };
        log::debug!("{}: {:?} {}", client.from, request.method, request.path);
        self.requests += 1;
        let (host, caller) = match self.guard.admit(&request, client.to) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.answer_line(token, refusal.status, refusal.why),
        };
        match request.method {
            Method::Get | Method::Head => {}
            Method::Options => return self.answer(token, options(&caller)),
            Method::Put | Method::Post => {
                return match self.guard.admit_change(&request) {
                    Ok(()) if host == Host::Here => self.begin_upload(token, &request),
                    Ok(()) => self.answer_line(token, 403, "files are sent to this machine by its own name"),
                    Err(refusal) => self.answer_line(token, refusal.status, refusal.why),
                };
            }
            Method::Other => {
                let mut answer = Answer::of_line(405, "nothing can be done so");
                answer.head = answer.head.with("Allow", ALLOWED);
                return self.answer(token, answer);
            }
        }
        match route(&host, &request.path) {
            Ok(Target::Content { id, name }) => self.begin_content(token, request, &caller, id, name),
            Ok(Target::Folder { root, path, is_folder }) => {
                let asked =
                    Asked { request, fields: allowed(&caller), path, is_folder, is_site: host != Host::Here };
                match root {
                    Root::Folder(root) => self.begin_folder(token, asked, root),
                    Root::Latest(key) => self.begin_name(token, asked, key),
                }
            }
            Ok(target @ (Target::Status | Target::StatusJson | Target::Events | Target::Metrics)) => {
                if caller != Caller::Own {
                    return self.answer_line(token, 403, "this is not told to other web sites");
                }
                let fields = allowed(&caller);
                let asked = Asked { request, fields, path: Vec::new(), is_folder: false, is_site: false };
                self.answer_about(token, &asked, &target);
            }
            Ok(Target::Stream(text)) => self.begin_stream(token, &request, allowed(&caller), &text),
            Err(nowhere) => self.answer_line(token, nowhere.status, nowhere.why),
        }
    }

    fn begin_content(
        &mut self,
        token: Token,
        request: Request,
        caller: &Caller,
        id: ContentId,
        name: Option<String>,
    ) {
        if let Some(mut answer) = content::without_content(&request, &tag_of(&id)) {
            for (name, value) in allowed(caller) {
                answer.head = answer.head.with(name, value);
            }
            return self.answer(token, answer);
        }
        let mut fields = allowed(caller);
        fields.push(("Cache-Control", IMMUTABLE.into()));
        fields.push(("Content-Security-Policy", POLICY.into()));
        let reading = Reading::new(self.session.now(), id, request, name, fields);
        self.read(token, reading);
    }

    /// Answers with one line.
    pub(super) fn answer_line(&mut self, token: Token, status: u16, line: &str) {
        self.answer(token, Answer::of_line(status, line));
    }

    /// Answers.
    pub(super) fn answer(&mut self, token: Token, mut answer: Answer) {
        let (now, date) = (self.session.now(), self.date());
        if let Some(client) = self.clients.get_mut(&token) {
            answer.head = answer.head.with("X-Content-Type-Options", "nosniff");
            if answer.head.field(RESOURCE_POLICY).is_none() {
                // Of no answer, a refusal included, another site learns anything.
                answer.head = answer.head.with(RESOURCE_POLICY, "same-origin");
            }
            client.connection.answer(now, &date, answer);
        }
    }
}

fn options(caller: &Caller) -> Answer {
    let mut head = Head::new(204).with("Allow", ALLOWED);
    for (name, value) in allowed(caller) {
        head = head.with(name, value);
    }
    if let Caller::Allowed(_) = caller {
        head = head
            .with("Access-Control-Allow-Methods", "GET, HEAD")
            .with("Access-Control-Allow-Headers", "Range");
    }
    Answer { head, body: crate::http::Body::None }
}

/// The fields that say which pages may read it.
fn allowed(caller: &Caller) -> Vec<(&'static str, String)> {
    match caller {
        Caller::Own => Vec::new(),
        Caller::Allowed(origin) => vec![
            ("Access-Control-Allow-Origin", origin.clone()),
            ("Access-Control-Expose-Headers", "Content-Range, ETag, Accept-Ranges".into()),
            (RESOURCE_POLICY, "cross-origin".into()),
            ("Vary", "Origin".into()),
        ],
    }
}
