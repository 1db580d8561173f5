//! Ids: what is read is printed in one way and read back, and none could be a path out of a folder.

use std::path::{Component, Path};

use cjp2p_wire::content_id::{ContentId, PlainName};

pub(super) fn body(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let parsed = ContentId::parse(text);
    let as_name = PlainName::new(text);
    let Ok(id) = parsed else {
        assert!(as_name.is_err(), "{text:?} is no id, but a name");
        return;
    };
    let printed = id.to_string();
    assert_eq!(ContentId::parse(&printed).as_ref(), Ok(&id), "{text:?}");
    assert!(
        printed.len() <= 255 && !printed.is_empty() && !printed.contains(char::is_control),
        "{printed:?}"
    );
    let json = serde_json::to_string(&id).expect("an id is a string");
    assert_eq!(serde_json::from_str::<ContentId>(&json).ok().as_ref(), Some(&id), "{json}");
    if let Some(cid) = id.cid() {
        assert_eq!(ContentId::parse(&cid).as_ref(), Ok(&id), "{cid}");
    }
    match &id {
        ContentId::Name(name) => {
            assert_eq!(name.as_str(), text, "a name is what was written");
            assert_eq!(as_name.as_ref(), Ok(name));
            let parts: Vec<Component<'_>> = Path::new(text).components().collect();
            assert!(matches!(parts[..], [Component::Normal(part)] if part == text), "{text:?} is a path");
            assert!(!text.contains('\\'), "{text:?} is a path elsewhere");
        }
        _ => {
            assert!(as_name.is_err(), "the id of a hash passes for a name: {text:?}");
            assert!(
                printed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_".contains(&byte)),
                "{printed:?}"
            );
        }
    }
}
