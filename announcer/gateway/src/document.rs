//! XML of strangers, within bounds.

use xml::{ParserConfig, reader::XmlEvent};
use xmltree::Element;

/// Octets of the longest document.
pub(crate) const LONGEST: usize = 64 * 1024;
const DEEPEST: usize = 32;
const MOST_ELEMENTS: usize = 2048;
const MOST_ATTRIBUTES: usize = 32;
/// Octets of all names of namespaces that hold for an element. A tree has them in each element again.
const LONGEST_NAMESPACES: usize = 1024;

/// Why a document is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It is longer than 64 KiB, deeper than 32 elements, or has more elements, attributes or namespaces than anybody needs.
    #[error("a document of the gateway's is too much")]
    TooMuch,
    /// It declares types or entities, which UPnP does not have.
    #[error("a document of the gateway's has a DOCTYPE")]
    Doctype,
    /// It is not XML.
    #[error("a document of the gateway's is not XML")]
    Malformed,
}

/// Octets as a text that can be read as XML at no more than a small cost, by any reader.
pub(crate) fn checked(octets: &[u8]) -> Result<String, XmlError> {
    if octets.len() > LONGEST {
        return Err(XmlError::TooMuch);
    }
    // Older gateways have names in Latin-1 in what they call UTF-8.
    let text = String::from_utf8_lossy(octets).into_owned();
    // A zero is in no XML, but in all that a reader might take for UTF-16.
    if text.contains('\0') {
        return Err(XmlError::Malformed);
    }
    if text.contains("<!DOCTYPE") {
        return Err(XmlError::Doctype);
    }
    // Signs that are no UTF-8 have become longer ones.
    if text.len() > LONGEST {
        return Err(XmlError::TooMuch);
    }
    let (mut depth, mut elements) = (0_usize, 0_usize);
    let reader = ParserConfig::new().max_attributes(MOST_ATTRIBUTES).create_reader(text.as_bytes());
    for event in reader {
        let event = event.map_err(|_| XmlError::Malformed)?;
        if let XmlEvent::StartElement { namespace, .. } = &event {
            depth += 1;
            elements += 1;
            let names = namespace.0.iter().map(|(prefix, name)| prefix.len() + name.len());
            if depth > DEEPEST || elements > MOST_ELEMENTS || names.sum::<usize>() > LONGEST_NAMESPACES {
                return Err(XmlError::TooMuch);
            }
        } else if let XmlEvent::EndElement { .. } = &event {
            depth = depth.saturating_sub(1);
        }
    }
    // xmltree panics without one.
    if elements == 0 { Err(XmlError::Malformed) } else { Ok(text) }
}

/// Reads a document.
pub(crate) fn parse(octets: &[u8]) -> Result<Element, XmlError> {
    tree(&checked(octets)?)
}

/// Reads a text that was [`checked`].
pub(crate) fn tree(text: &str) -> Result<Element, XmlError> {
    Element::parse(text.as_bytes()).map_err(|_| XmlError::Malformed)
}

/// The text in a child, without white space around it; empty if there is no child.
pub(crate) fn text(element: &Element, child: &str) -> String {
    let text = element.get_child(child).and_then(Element::get_text);
    text.map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// The children of that name.
pub(crate) fn children<'a>(
    element: &'a Element,
    name: &'a str,
) -> impl DoubleEndedIterator<Item = &'a Element> {
    let elements = element.children.iter().filter_map(xmltree::XMLNode::as_element);
    elements.filter(move |child| child.name == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_that_is_too_long_is_not_read() {
        let long = format!("<a>{}</a>", "x".repeat(LONGEST));
        assert_eq!(parse(long.as_bytes()), Err(XmlError::TooMuch));
        let longer_when_read = [b"<a>", vec![0xff; LONGEST / 2].as_slice(), b"</a>"].concat();
        assert_eq!(parse(&longer_when_read), Err(XmlError::TooMuch));
    }

    #[test]
    fn a_document_that_is_too_deep_is_not_read() {
        let deep = |depth| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(parse(deep(DEEPEST).as_bytes()).is_ok());
        assert_eq!(parse(deep(DEEPEST + 1).as_bytes()), Err(XmlError::TooMuch));
        assert_eq!(parse("<a>".repeat(20_000).as_bytes()), Err(XmlError::TooMuch));
    }

    #[test]
    fn a_document_with_too_many_elements_or_attributes_is_not_read() {
        assert_eq!(parse(format!("<a>{}</a>", "<b/>".repeat(10_000)).as_bytes()), Err(XmlError::TooMuch));
        let attributes: String = (0..100).map(|number| format!(" a{number}=''")).collect();
        assert_eq!(parse(format!("<a{attributes}/>").as_bytes()), Err(XmlError::Malformed));
    }

    #[test]
    fn namespaces_that_would_be_copied_into_each_element_are_too_much() {
        let names: String = (0..30).map(|number| format!(" xmlns:n{number}='{}'", "u".repeat(100))).collect();
        let document = format!("<a{names}>{}</a>", "<b/>".repeat(1000));
        assert_eq!(parse(document.as_bytes()), Err(XmlError::TooMuch));
    }

    #[test]
    fn a_document_with_entities_of_its_own_is_not_read() {
        let bomb = "<!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;&b;'>]><a>&c;</a>";
        assert_eq!(parse(bomb.as_bytes()), Err(XmlError::Doctype));
        assert_eq!(parse(b"<a>&b;</a>"), Err(XmlError::Malformed));
        let wide: Vec<u8> = bomb.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let said = [b"<?xml version='1.0' encoding='UTF-16'?>", wide.as_slice()].concat();
        assert_eq!(parse(&said), Err(XmlError::Malformed));
    }

    #[test]
    fn what_is_not_xml_is_not_read() {
        for octets in ["", " ", "<a>", "<a></b>", "<!-- -->", "<?xml version='1.0'?>", "a"] {
            assert_eq!(parse(octets.as_bytes()), Err(XmlError::Malformed), "{octets}");
        }
    }

    #[test]
    fn a_name_in_latin_1_does_no_harm() {
        let element = parse(b"<a><b>M\xfcller</b><c> 1 </c></a>").unwrap();
        assert_eq!((text(&element, "b").as_str(), text(&element, "c").as_str()), ("M\u{fffd}ller", "1"));
    }

    proptest! {
        #[test]
        fn no_octets_make_the_reader_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _read = parse(&octets);
        }

        #[test]
        fn no_markup_makes_the_reader_panic(markup in r#"(<|>|/|a|b|=|'|"|!|\?|xml|xmlns:|\[|\]|&|;|#|-| ){0,60}"#) {
            let _read = parse(markup.as_bytes());
        }
    }
}
