//! Reading metainfo that strangers made: each rule is checked here, once.

use std::fmt;
use std::sync::Arc;

use bendy::decoding::{ListDecoder, Object};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::folder::{FolderPath, PathError};

use super::info::{HASH_LEN, Info, MAX_INFO};
use super::value::{CJP2P_KEY, MAX_TRACKERS, MAX_WEB_SEEDS, Metainfo, is_url};
use crate::bencode::{self, BencodeError, each_item, each_pair};
use crate::info_hash::InfoHash;
use crate::layout::{Layout, LayoutError, MAX_FILES, Role};
use crate::pieces::{MAX_PIECE, Pieces};

/// Longest metainfo in bytes: the longest `info`, and room for trackers.
pub const MAX_METAINFO: usize = MAX_INFO + (1 << 20);

impl Metainfo {
    /// Reads what a `.torrent` file holds.
    ///
    /// What is wrong outside of `info` is passed over, since the torrent can be had without it.
    ///
    /// # Errors
    ///
    /// Where the text is not strict bencode, or `info` breaks a rule.
    pub fn parse(text: &[u8]) -> Result<Self, MetainfoError> {
        if text.len() > MAX_METAINFO {
            return Err(MetainfoError::TooLong);
        }
        let (mut info, mut announce, mut tiers) = (None, None, Vec::new());
        let (mut web_seeds, mut content) = (Vec::new(), None);
        bencode::dictionary(text, |key, value| {
            match (key, value) {
                (b"info", Object::Dict(pairs)) => info = Some(pairs.into_raw().map_err(BencodeError::from)?),
                (b"info", _) => return Err(MetainfoError::Field("info")),
                (b"announce", value) => announce = bencode::text(value).filter(|text| is_url(text)),
                (b"announce-list", Object::List(mut list)) => tiers = read_tiers(&mut list)?,
                (b"url-list", Object::List(mut list)) => web_seeds = read_urls(&mut list, MAX_WEB_SEEDS)?,
                (b"url-list", value) => {
                    web_seeds.extend(bencode::text(value).filter(|text| is_url(text)).map(str::to_owned));
                }
                (key, value) if key == CJP2P_KEY.as_bytes() => {
                    content = bencode::text(value).and_then(|text| ContentId::parse_any_spelling(text).ok());
                }
                _ => {}
            }
            Ok(())
        })?;
        let info = Info::parse(info.ok_or(MetainfoError::Missing("info"))?)?;
        // Where there are tiers, the one tracker beside them is for programs that know none.
        if tiers.is_empty() {
            tiers.extend(announce.map(|url| vec![url.to_owned()]));
        }
        content = content.filter(|id| matches!(id, ContentId::Blake3(_)) && info.layout.top().is_none());
        Ok(Self { info: Arc::new(info), trackers: tiers, web_seeds, content })
    }
}

fn read_tiers(list: &mut ListDecoder<'_, '_>) -> Result<Vec<Vec<String>>, MetainfoError> {
    let (mut tiers, mut room) = (Vec::new(), MAX_TRACKERS);
    each_item(list, |tier| {
        if let Object::List(mut urls) = tier {
            let urls = read_urls(&mut urls, room)?;
            room -= urls.len();
            if !urls.is_empty() {
                tiers.push(urls);
            }
        }
        Ok::<_, MetainfoError>(())
    })?;
    Ok(tiers)
}

fn read_urls(list: &mut ListDecoder<'_, '_>, most: usize) -> Result<Vec<String>, MetainfoError> {
    let mut urls = Vec::new();
    each_item(list, |value| {
        if let Some(url) = bencode::text(value).filter(|text| urls.len() < most && is_url(text)) {
            urls.push(url.to_owned());
        }
        Ok::<_, MetainfoError>(())
    })?;
    Ok(urls)
}

/// What is in `info`, before it is known to go together.
#[derive(Default)]
struct Fields<'a> {
    name: Option<&'a [u8]>,
    utf8_name: Option<&'a [u8]>,
    piece_length: Option<u32>,
    pieces: Option<&'a [u8]>,
    len: Option<u64>,
    attributes: &'a [u8],
    files: Option<Vec<(FolderPath, u64, Role)>>,
    is_private: bool,
    is_v2: bool,
}

impl Info {
    /// Reads an encoded `info`.
    ///
    /// # Errors
    ///
    /// Where it is not strict bencode, or breaks a rule.
    pub fn parse(raw: &[u8]) -> Result<Self, MetainfoError> {
        if raw.len() > MAX_INFO {
            return Err(MetainfoError::TooLong);
        }
        let mut fields = Fields::default();
        bencode::dictionary(raw, |key, value| fields.take(key, value))?;
        let name = fields.utf8_name.or(fields.name).ok_or(MetainfoError::Missing("name"))?;
        let name = single(name).map_err(MetainfoError::Path)?;
        let Some(hashes) = fields.pieces else {
            return Err(if fields.is_v2 { MetainfoError::OnlyV2 } else { MetainfoError::Missing("pieces") });
        };
        let piece_length = fields.piece_length.ok_or(MetainfoError::Missing("piece length"))?;
        let layout = match (fields.len, fields.files) {
            (Some(len), None) => Layout::of_file(name.clone(), len, fields.attributes.contains(&b'x')),
            (None, Some(files)) => Layout::of_folder(name.clone(), files),
            (Some(_), Some(_)) => return Err(MetainfoError::Field("files")),
            (None, None) => return Err(MetainfoError::Missing("length")),
        }
        .map_err(MetainfoError::Layout)?;
        let wanted = layout.len().div_ceil(u64::from(piece_length));
        let is_fine = hashes.len() % HASH_LEN == 0 && (hashes.len() / HASH_LEN) as u64 == wanted;
        let Some(pieces) = Pieces::new(layout.len(), piece_length).filter(|_| is_fine) else {
            return Err(MetainfoError::Pieces { wanted, bytes: hashes.len() });
        };
        let start = hashes.as_ptr() as usize - raw.as_ptr() as usize;
        Ok(Self {
            hash: InfoHash::of(raw),
            name,
            pieces,
            layout: Arc::new(layout),
            is_private: fields.is_private,
            raw: raw.into(),
            hashes: start..start + hashes.len(),
        })
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, key: &[u8], value: Object<'_, 'a>) -> Result<(), MetainfoError> {
        match key {
            b"name" => self.name = Some(bencode::bytes(value).ok_or(MetainfoError::Field("name"))?),
            b"name.utf-8" => self.utf8_name = bencode::bytes(value),
            b"piece length" => {
                let length = bencode::number(value).and_then(|number| u32::try_from(number).ok());
                let length = length.filter(|length| (1..=MAX_PIECE).contains(length));
                self.piece_length = Some(length.ok_or(MetainfoError::Field("piece length"))?);
            }
            b"pieces" => self.pieces = Some(bencode::bytes(value).ok_or(MetainfoError::Field("pieces"))?),
            b"length" => self.len = Some(bencode::number(value).ok_or(MetainfoError::Field("length"))?),
            b"attr" => self.attributes = bencode::bytes(value).unwrap_or_default(),
            b"private" => self.is_private = bencode::number(value) == Some(1),
            b"meta version" => self.is_v2 = bencode::number(value) == Some(2),
            b"files" => match value {
                Object::List(mut list) => self.files = Some(read_files(&mut list)?),
                _ => return Err(MetainfoError::Field("files")),
            },
            _ => {}
        }
        Ok(())
    }
}

fn read_files(list: &mut ListDecoder<'_, '_>) -> Result<Vec<(FolderPath, u64, Role)>, MetainfoError> {
    let mut files = Vec::new();
    each_item(list, |file| {
        let Object::Dict(mut pairs) = file else { return Err(MetainfoError::Field("files")) };
        if files.len() == MAX_FILES {
            return Err(MetainfoError::Layout(LayoutError::TooManyFiles));
        }
        let (mut len, mut path, mut utf8_path, mut attributes) = (None, None, None, &b""[..]);
        each_pair(&mut pairs, |key, value| {
            match (key, value) {
                (b"length", value) => len = bencode::number(value),
                (b"path", Object::List(mut parts)) => path = Some(read_path(&mut parts)?),
                (b"path.utf-8", Object::List(mut parts)) => utf8_path = Some(read_path(&mut parts)?),
                (b"attr", value) => attributes = bencode::bytes(value).unwrap_or_default(),
                _ => {}
            }
            Ok::<_, MetainfoError>(())
        })?;
        let role = match attributes {
            _ if attributes.contains(&b'p') => Role::Padding,
            _ if attributes.contains(&b'l') => Role::Link,
            _ => Role::File { is_executable: attributes.contains(&b'x') },
        };
        let len = len.filter(|len| role != Role::Link || *len == 0).ok_or(MetainfoError::Field("length"))?;
        let path = utf8_path.or(path).ok_or(MetainfoError::Missing("path"))?.map_err(MetainfoError::Path)?;
        files.push((path, len, role));
        Ok(())
    })?;
    Ok(files)
}

/// The outer error is of the text, the inner one of the path that it spells.
fn read_path(parts: &mut ListDecoder<'_, '_>) -> Result<Result<FolderPath, PathError>, MetainfoError> {
    let mut path = Vec::new();
    let mut wrong = None;
    each_item(parts, |part| {
        let part = bencode::bytes(part).ok_or(MetainfoError::Field("path"))?;
        match single(part) {
            // More than any path can have is not kept.
            Ok(_) if path.len() > cjp2p_wire::folder::MAX_PATH_LEN => wrong = Some(PathError::TooLong),
            Ok(_) => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
            Err(error) => wrong = Some(error),
        }
        Ok::<_, MetainfoError>(())
    })?;
    Ok(wrong.map_or_else(|| FolderPath::new(&path), Err))
}

/// One part of a path: what a file is called in a folder.
fn single(part: &[u8]) -> Result<FolderPath, PathError> {
    let path = FolderPath::new(part)?;
    if path.parent_bytes().is_some() { Err(PathError::EmptyPart) } else { Ok(path) }
}

/// Why a text is no metainfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetainfoError {
    /// More than [`MAX_METAINFO`] bytes, or of `info` [`MAX_INFO`].
    TooLong,
    /// It is not strict bencode.
    Bencode(BencodeError),
    /// A field is not there.
    Missing(&'static str),
    /// A field is of the wrong kind, or beyond its bounds.
    Field(&'static str),
    /// A name or a path that could lead out of the folder.
    Path(PathError),
    /// The files do not go together.
    Layout(LayoutError),
    /// There are not as many hashes as pieces.
    Pieces {
        /// Pieces of these files.
        wanted: u64,
        /// Bytes of hashes.
        bytes: usize,
    },
    /// A torrent of version 2 (BEP 52) without what version 1 needs.
    OnlyV2,
}

impl From<BencodeError> for MetainfoError {
    fn from(error: BencodeError) -> Self {
        Self::Bencode(error)
    }
}

impl fmt::Display for MetainfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetainfoError::TooLong => write!(f, "longer than {} MiB", MAX_INFO >> 20),
            MetainfoError::Bencode(error) => write!(f, "not the bencode of a torrent: {error}"),
            MetainfoError::Missing(field) => write!(f, "has no {field}"),
            MetainfoError::Field(field) => write!(f, "its {field} is of the wrong kind or out of bounds"),
            MetainfoError::Path(error) => write!(f, "names {error}"),
            MetainfoError::Layout(error) => write!(f, "{error}"),
            MetainfoError::Pieces { wanted, bytes } => {
                write!(f, "has {bytes} bytes of hashes for {wanted} pieces of {HASH_LEN} each")
            }
            MetainfoError::OnlyV2 => f.write_str("is a torrent of version 2 only, which is not supported"),
        }
    }
}

impl std::error::Error for MetainfoError {}
