//! The options of a message as octets: split, repeated and overloaded ones put together.

use std::collections::BTreeMap;

use crate::wire::WireError;

/// Option codes (RFC 2132 and its registry).
pub(crate) mod code {
    pub(crate) const PAD: u8 = 0;
    pub(crate) const SUBNET_MASK: u8 = 1;
    pub(crate) const ROUTER: u8 = 3;
    pub(crate) const HOSTNAME: u8 = 12;
    pub(crate) const REQUESTED_ADDRESS: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    pub(crate) const SERVER_ID: u8 = 54;
    pub(crate) const PARAMETERS: u8 = 55;
    pub(crate) const MESSAGE: u8 = 56;
    pub(crate) const MAXIMUM_SIZE: u8 = 57;
    pub(crate) const RENEWAL_TIME: u8 = 58;
    pub(crate) const REBINDING_TIME: u8 = 59;
    pub(crate) const VENDOR_CLASS: u8 = 60;
    pub(crate) const CLIENT_ID: u8 = 61;
    pub(crate) const USER_CLASS: u8 = 77;
    pub(crate) const RAPID_COMMIT: u8 = 80;
    pub(crate) const CLIENT_FQDN: u8 = 81;
    pub(crate) const RELAY_AGENT: u8 = 82;
    pub(crate) const CLASSLESS_ROUTES: u8 = 121;
    pub(crate) const END: u8 = 255;

    /// What a client sends, or must not send, of its own accord: nobody else adds it.
    pub(crate) const OWN: [u8; 15] = [
        PAD,
        HOSTNAME,
        REQUESTED_ADDRESS,
        OVERLOAD,
        MESSAGE_TYPE,
        SERVER_ID,
        PARAMETERS,
        MAXIMUM_SIZE,
        VENDOR_CLASS,
        CLIENT_ID,
        USER_CLASS,
        RAPID_COMMIT,
        CLIENT_FQDN,
        RELAY_AGENT,
        END,
    ];
}

/// Values by code, each the concatenation of all instances of the option (RFC 3396 section 7).
///
/// A fixed-size option that comes twice is thereby too long, and refused by its length.
pub(crate) struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// Reads the options field, then `file`, then `sname` where option 52 says that they carry options.
    pub(crate) fn read(field: &[u8], file: &[u8], sname: &[u8]) -> Result<Self, WireError> {
        let mut options = Self(BTreeMap::new());
        options.walk(field)?;
        let overload = options.fixed(code::OVERLOAD)?.map(|[value]| value);
        let (with_file, with_sname) = match overload {
            None => (false, false),
            Some(1) => (true, false),
            Some(2) => (false, true),
            Some(3) => (true, true),
            Some(value) => return Err(WireError::Overload(value)),
        };
        if with_file {
            options.walk(file)?;
        }
        if with_sname {
            options.walk(sname)?;
        }
        Ok(options)
    }

    fn walk(&mut self, mut field: &[u8]) -> Result<(), WireError> {
        loop {
            match field {
                // A field that is full needs no end mark to be read safely; some servers leave it out.
                [] | [code::END, ..] => return Ok(()),
                [code::PAD, rest @ ..] => field = rest,
                [code, length, rest @ ..] => {
                    let (value, rest) = rest
                        .split_at_checked(usize::from(*length))
                        .ok_or(WireError::OptionTruncated(*code))?;
                    self.0.entry(*code).or_default().extend_from_slice(value);
                    field = rest;
                }
                [code] => return Err(WireError::OptionTruncated(*code)),
            }
        }
    }

    pub(crate) fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    /// The value of an option of exactly `N` octets.
    pub(crate) fn fixed<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, WireError> {
        self.get(code)
            .map(|value| value.try_into().map_err(|_| WireError::OptionLength { code, length: value.len() }))
            .transpose()
    }
}
