//! Requests for something in a folder: its lists are read until it is found, and then it is sent, or a page of what is there.

use std::io;

use cjp2p_wire::content_id::{ContentId, Hash};

use super::Gateway;
use super::client::Token;
use super::finding::{Asked, Finding};
use super::policy::PAGE_POLICY;
use super::reading::{Purpose, Reading, tag_of};
use crate::folder::find::{Child, Found, Listing, Next};
use crate::folder::page;
use crate::http::{Answer, Body, Head, Piece, content};

/// What is shown in the place of a page of what is in a folder.
const INDEX: &[u8] = b"index.html";

impl Gateway {
    /// Looks for a path in a folder with this id.
    pub(super) fn begin_folder(&mut self, token: Token, asked: Asked, root: Hash) {
        self.begin_finding(token, asked, root, false);
    }

    /// Looks for a path in a folder; `changes`: the URL has a name for it.
    pub(super) fn begin_finding(&mut self, token: Token, asked: Asked, root: Hash, changes: bool) {
        match Finding::new(asked, root, changes) {
            Some(finding) => self.go_on_finding(token, Box::new(finding)),
            None => self.answer_line(token, 404, "no folder can have such a path in it"),
        }
    }

    /// A list that was needed is here.
    pub(super) fn take_list(&mut self, token: Token, text: io::Result<Vec<u8>>) {
        let Some(reading) = self.clients.get_mut(&token).and_then(|client| client.reading.as_mut()) else {
            return;
        };
        let Purpose::List(mut finding) = std::mem::replace(&mut reading.purpose, Purpose::Answer) else {
            return;
        };
        self.detach(token);
        let taken = match text {
            Ok(text) => {
                finding.find.take(&text).map_err(|broken| format!("the list of the folder: {}", broken.0))
            }
            Err(error) => Err(format!("the cache cannot be read: {error}")),
        };
        match taken {
            Ok(()) => self.go_on_finding(token, finding),
            Err(why) => self.answer_line(token, 502, &why),
        }
    }

    fn go_on_finding(&mut self, token: Token, mut finding: Box<Finding>) {
        match finding.find.next() {
            Next::List(list) => {
                let reading = Reading::of_list(self.session.now(), list, finding);
                self.read(token, reading);
            }
            Next::Found(Found::Nothing) => {
                self.answer_line(token, 404, "nothing is at this path in the folder")
            }
            Next::Found(Found::File { root }) => {
                if finding.asked.is_folder {
                    return self.answer_line(token, 404, "what is at this path is a file and no folder");
                }
                self.send_file_of(token, *finding, root);
            }
            Next::Found(Found::Link { target, rest }) => match finding.follow(&target, &rest) {
                true => self.go_on_finding(token, finding),
                false => self.answer_line(
                    token,
                    404,
                    "what is at this path is a link that leads out of the folder",
                ),
            },
            Next::Found(Found::Folder(listing)) => self.send_folder(token, *finding, &listing),
        }
    }

    fn send_file_of(&mut self, token: Token, finding: Finding, root: Hash) {
        let (policy, control) = (finding.policy(), finding.cache_control());
        let name = match finding.asked.is_folder {
            true => None,
            false => finding.asked.path.last().map(|name| String::from_utf8_lossy(name).into_owned()),
        };
        // A page of a folder is shown at the path of that folder.
        let name = name.or_else(|| Some("index.html".to_owned()));
        self.send_content(token, finding.asked, ContentId::Blake3(root), name, control, policy);
    }

    /// Sends content that a path led to.
    pub(super) fn send_content(
        &mut self,
        token: Token,
        asked: Asked,
        id: ContentId,
        name: Option<String>,
        control: &str,
        policy: String,
    ) {
        let Asked { request, mut fields, .. } = asked;
        fields.push(("Cache-Control", control.to_owned()));
        fields.push(("Content-Security-Policy", policy));
        if let Some(mut answer) = content::without_content(&request, &tag_of(&id)) {
            for (name, value) in fields {
                answer.head = answer.head.with(name, value);
            }
            return self.answer(token, answer);
        }
        let reading = Reading::new(self.session.now(), id, request, name, fields);
        self.read(token, reading);
    }

    fn send_folder(&mut self, token: Token, finding: Finding, listing: &Listing) {
        let Asked { request, fields, path, is_folder, .. } = &finding.asked;
        if !is_folder {
            // Relative links count from the slash.
            let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
            let status = if finding.changes() { 307 } else { 308 };
            let head = Head::new(status).with("Location", format!("{}/{query}", request.path));
            return self.answer(token, Answer { head, body: Body::Pieces(Default::default()) });
        }
        if let Some(Child::File(_, root)) = listing.children.get(INDEX) {
            let root = *root;
            return self.send_file_of(token, finding, root);
        }
        let folder = cjp2p_wire::folder::folder_id(&finding.root);
        let tag = format!("\"{folder}/{}\"", page::encode_path(path));
        let mut answer = content::without_content(request, &tag).unwrap_or_else(|| {
            let shown = String::from_utf8_lossy(&path.join(&b'/')).into_owned();
            let page = page::page(&format!("{folder}/{shown}"), listing, !path.is_empty());
            let head =
                Head::new(200).with("Content-Type", "text/html; charset=utf-8").with("ETag", tag.clone());
            Answer { head, body: Body::Pieces([Piece::Bytes(page.into_bytes())].into()) }
        });
        for (name, value) in fields {
            answer.head = answer.head.with(name, value.clone());
        }
        answer.head = answer.head.with("Cache-Control", finding.cache_control());
        answer.head = answer.head.with("Content-Security-Policy", PAGE_POLICY);
        self.answer(token, answer);
    }
}
